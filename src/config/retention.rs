//! What is removed with time, and when it is looked for.

use std::sync::Arc;

use clap::Args;

use crate::domain::cron::Cron;
use crate::domain::maintenance::{Keep, Kind, Rule};

/// What is removed with time.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Retention (cron expressions have five fields and are in UTC)")]
pub struct RetentionConfig {
    /// How long the lines of builds and pushes are kept after the end of their deployment: 12h, 30d, 8w, or never to keep them for ever
    #[arg(
        long = "retention-build-lines",
        env = "PANDA_RETENTION_BUILD_LINES",
        value_name = "AGE",
        default_value = "30d"
    )]
    pub build_lines: Keep,
    /// When build lines are looked for
    #[arg(long = "retention-build-lines-cron", env = "PANDA_RETENTION_BUILD_LINES_CRON", value_name = "CRON", default_value = "7 2 * * *", value_parser = cron)]
    pub build_lines_cron: Arc<Cron>,
    /// How long events are kept after the end of their deployment; the last one stays as long as the deployment
    #[arg(long = "retention-events", env = "PANDA_RETENTION_EVENTS", value_name = "AGE", default_value = "180d")]
    pub events: Keep,
    /// When events are looked for
    #[arg(long = "retention-events-cron", env = "PANDA_RETENTION_EVENTS_CRON", value_name = "CRON", default_value = "37 2 * * *", value_parser = cron)]
    pub events_cron: Arc<Cron>,
    /// How long finished deployments are kept after their end; what reports need of them goes to the archive and stays
    #[arg(
        long = "retention-deployments",
        env = "PANDA_RETENTION_DEPLOYMENTS",
        value_name = "AGE",
        default_value = "400d"
    )]
    pub deployments: Keep,
    /// When finished deployments are looked for
    #[arg(long = "retention-deployments-cron", env = "PANDA_RETENTION_DEPLOYMENTS_CRON", value_name = "CRON", default_value = "7 3 * * *", value_parser = cron)]
    pub deployments_cron: Arc<Cron>,
    /// When checked-out sources are looked for that no build needs any more
    #[arg(long = "retention-workspaces-cron", env = "PANDA_RETENTION_WORKSPACES_CRON", value_name = "CRON", default_value = "*/15 * * * *", value_parser = cron)]
    pub workspaces_cron: Arc<Cron>,
    /// How long the engine keeps the image of a deployment that could not be pushed, after the deployment's end
    #[arg(long = "retention-images", env = "PANDA_RETENTION_IMAGES", value_name = "AGE", default_value = "7d")]
    pub images: Keep,
    /// When such images are looked for
    #[arg(long = "retention-images-cron", env = "PANDA_RETENTION_IMAGES_CRON", value_name = "CRON", default_value = "22 * * * *", value_parser = cron)]
    pub images_cron: Arc<Cron>,
    /// How long the records of maintenance, and of the times of schedules, are kept
    #[arg(long = "retention-runs", env = "PANDA_RETENTION_RUNS", value_name = "AGE", default_value = "90d")]
    pub runs: Keep,
    /// When such records are looked for
    #[arg(long = "retention-runs-cron", env = "PANDA_RETENTION_RUNS_CRON", value_name = "CRON", default_value = "37 3 * * *", value_parser = cron)]
    pub runs_cron: Arc<Cron>,
}

impl RetentionConfig {
    /// One rule a kind.
    pub fn rules(&self) -> Vec<Rule> {
        Kind::ALL.into_iter().map(|kind| self.rule(kind)).collect()
    }

    fn rule(&self, kind: Kind) -> Rule {
        let (keep, cron) = match kind {
            Kind::BuildLines => (Some(self.build_lines), &self.build_lines_cron),
            Kind::Events => (Some(self.events), &self.events_cron),
            Kind::Deployments => (Some(self.deployments), &self.deployments_cron),
            Kind::Workspaces => (None, &self.workspaces_cron),
            Kind::Images => (Some(self.images), &self.images_cron),
            Kind::Runs => (Some(self.runs), &self.runs_cron),
        };
        Rule { kind, keep, cron: Arc::clone(cron) }
    }
}

/// Shared: a parsed expression is not small, and the configuration is passed around whole.
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
    fn nothing_is_removed_sooner_than_a_month_but_leftovers() {
        let rules = Cli::try_parse_from(["panda"]).unwrap().retention.rules();
        let days = |kind| {
            let rule = rules.iter().find(|rule: &&Rule| rule.kind == kind).unwrap();
            rule.keep.and_then(Keep::duration).map(|age| age.as_secs() / 86_400)
        };
        let found = Kind::ALL.map(days);
        assert_eq!(found, [Some(30), Some(180), Some(400), None, Some(7), Some(90)]);
    }

    #[test]
    fn a_wrong_age_or_expression_is_named_with_a_good_one() {
        let refused = |arg: &str| Cli::try_parse_from(["panda", arg]).unwrap_err().to_string();
        let age = refused("--retention-events=1y");
        assert!(age.contains("--retention-events") && age.contains("30d"), "{age}");
        let fields = refused("--retention-events-cron=0 0 2 * * *");
        assert!(fields.contains("--retention-events-cron") && fields.contains("5 fields"), "{fields}");
        assert!(refused("--retention-runs-cron=0 0 30 2 *").contains("never fires"));
    }
}
