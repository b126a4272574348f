//! Options of retention: how long each kind of data is kept, and when it is cleaned up.

use std::sync::Arc;

use clap::{Args, value_parser};

use crate::domain::cron::Cron;
use crate::domain::maintenance::{RetentionKind, RetentionPeriod, RetentionRule};

/// Options of retention: an age and a cron expression for each kind of data.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Retention (cron expressions have five fields and are in UTC)")]
pub struct RetentionConfig {
    /// Retention of build and push output, from the end of its deployment: 12h, 30d, 8w, or never to keep it for ever
    #[arg(
        long = "retention-build-lines",
        env = "PANDA_RETENTION_BUILD_LINES",
        value_name = "AGE",
        default_value = "30d"
    )]
    pub build_lines: RetentionPeriod,
    /// Cron expression for the removal of old build and push output
    #[arg(long = "retention-build-lines-cron", env = "PANDA_RETENTION_BUILD_LINES_CRON", value_name = "CRON", default_value = "7 2 * * *", value_parser = cron)]
    pub build_lines_cron: Arc<Cron>,
    /// Retention of events, from the end of their deployment; the last event stays as long as the deployment
    #[arg(long = "retention-events", env = "PANDA_RETENTION_EVENTS", value_name = "AGE", default_value = "180d")]
    pub events: RetentionPeriod,
    /// Cron expression for the removal of old events
    #[arg(long = "retention-events-cron", env = "PANDA_RETENTION_EVENTS_CRON", value_name = "CRON", default_value = "37 2 * * *", value_parser = cron)]
    pub events_cron: Arc<Cron>,
    /// Retention of finished deployments, from their end; the archive keeps the data that reports need
    #[arg(
        long = "retention-deployments",
        env = "PANDA_RETENTION_DEPLOYMENTS",
        value_name = "AGE",
        default_value = "400d"
    )]
    pub deployments: RetentionPeriod,
    /// Cron expression for the removal of old finished deployments
    #[arg(long = "retention-deployments-cron", env = "PANDA_RETENTION_DEPLOYMENTS_CRON", value_name = "CRON", default_value = "7 3 * * *", value_parser = cron)]
    pub deployments_cron: Arc<Cron>,
    /// Number of releases of each target to keep for rollbacks, whatever their age: its newest COMPLETED deployments
    #[arg(long, env = "PANDA_KEEP_RELEASES", value_name = "NUMBER", default_value_t = 10, value_parser = value_parser!(u32).range(0..=1000))]
    pub keep_releases: u32,
    /// Cron expression for the removal of checked-out sources that no build needs
    #[arg(long = "retention-workspaces-cron", env = "PANDA_RETENTION_WORKSPACES_CRON", value_name = "CRON", default_value = "*/15 * * * *", value_parser = cron)]
    pub workspaces_cron: Arc<Cron>,
    /// Retention in the engine of images that could not be pushed, from the end of their deployment
    #[arg(long = "retention-images", env = "PANDA_RETENTION_IMAGES", value_name = "AGE", default_value = "7d")]
    pub images: RetentionPeriod,
    /// Cron expression for the removal of images that could not be pushed
    #[arg(long = "retention-images-cron", env = "PANDA_RETENTION_IMAGES_CRON", value_name = "CRON", default_value = "22 * * * *", value_parser = cron)]
    pub images_cron: Arc<Cron>,
    /// Retention of the records of maintenance runs and schedule runs
    #[arg(long = "retention-runs", env = "PANDA_RETENTION_RUNS", value_name = "AGE", default_value = "90d")]
    pub runs: RetentionPeriod,
    /// Cron expression for the removal of old run records
    #[arg(long = "retention-runs-cron", env = "PANDA_RETENTION_RUNS_CRON", value_name = "CRON", default_value = "37 3 * * *", value_parser = cron)]
    pub runs_cron: Arc<Cron>,
}

impl RetentionConfig {
    /// Returns one retention rule for each kind of data.
    pub fn rules(&self) -> Vec<RetentionRule> {
        RetentionKind::ALL.into_iter().map(|kind| self.rule(kind)).collect()
    }

    fn rule(&self, kind: RetentionKind) -> RetentionRule {
        let (keep, cron) = match kind {
            RetentionKind::BuildLines => (Some(self.build_lines), &self.build_lines_cron),
            RetentionKind::Events => (Some(self.events), &self.events_cron),
            RetentionKind::Deployments => (Some(self.deployments), &self.deployments_cron),
            RetentionKind::Workspaces => (None, &self.workspaces_cron),
            RetentionKind::Images => (Some(self.images), &self.images_cron),
            RetentionKind::Runs => (Some(self.runs), &self.runs_cron),
        };
        RetentionRule { kind, keep, cron: Arc::clone(cron) }
    }
}

/// Parses a cron expression. The result is shared, because it is large and the configuration is cloned as a whole.
fn cron(text: &str) -> Result<Arc<Cron>, String> {
    Cron::parse(text).map(Arc::new).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        retention: RetentionConfig,
    }

    #[test]
    fn defaults_keep_all_data_a_month_except_leftovers() {
        let rules = Cli::try_parse_from(["panda"]).unwrap().retention.rules();
        let days = |kind| {
            let rule = rules.iter().find(|rule: &&RetentionRule| rule.kind == kind).unwrap();
            rule.keep.and_then(RetentionPeriod::duration).map(|age| age.as_secs() / 86_400)
        };
        let found = RetentionKind::ALL.map(days);
        assert_eq!(found, [Some(30), Some(180), Some(400), None, Some(7), Some(90)]);
    }

    #[test]
    fn rejects_a_wrong_value_with_an_example() {
        let refused = |arg: &str| Cli::try_parse_from(["panda", arg]).unwrap_err().to_string();
        let age = refused("--retention-events=1y");
        assert!(age.contains("--retention-events") && age.contains("30d"), "{age}");
        let fields = refused("--retention-events-cron=0 0 2 * * *");
        assert!(fields.contains("--retention-events-cron") && fields.contains("5 fields"), "{fields}");
        assert!(refused("--retention-runs-cron=0 0 30 2 *").contains("never fires"));
    }
}
