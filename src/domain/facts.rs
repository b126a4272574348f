//! Facts: what steps observed outside, stored as JSON in `deployments.facts`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::health_check::HealthCheckSpec;
use super::listener_guard::ListenerRoute;
use super::rollout::{RolloutId, SeenPause};

/// Declares the fields of [`Facts`] once: the struct, its stored keys and the merge follow from the list.
macro_rules! facts {
    (kept_by_a_retry { $($(#[$kept_meta:meta])* $kept:ident: $kept_type:ty,)+ } of_an_attempt { $($(#[$meta:meta])* $name:ident: $type:ty,)+ }) => {
        /// Facts that the steps observed. In a patch, `None` means unchanged.
        ///
        /// The stored key is the field's name. Keys of a newer program are ignored, and stay in the row.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
        #[serde(default)]
        pub struct Facts {
            $($(#[$kept_meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $kept: Option<$kept_type>,)+
            $($(#[$meta])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
        }

        impl Facts {
            /// Keys of the facts that the next attempt keeps: those of the source and its image.
            pub const KEPT_BY_A_RETRY: &'static [&'static str] = &[$(stringify!($kept)),+];

            #[cfg(test)]
            const KEYS: &'static [&'static str] = &[$(stringify!($kept),)+ $(stringify!($name),)+];

            /// Overwrites each field that `patch` sets.
            pub fn merge(&mut self, patch: Self) {
                $(if patch.$kept.is_some() { self.$kept = patch.$kept; })+
                $(if patch.$name.is_some() { self.$name = patch.$name; })+
            }
        }
    };
}

facts! {
    kept_by_a_retry {
        /// Commit that was cloned and built.
        commit_sha: String,
        /// Commit time of `commit_sha`, in whole seconds.
        #[serde(with = "chrono::serde::ts_seconds_option")]
        committed_at: DateTime<Utc>,
        /// Name of the commit's author, without an e-mail address.
        commit_author: String,
        /// First line of the commit's message.
        commit_subject: String,
        /// Repository URI and tag of the pushed image.
        image_uri: String,
        /// Digest of the pushed image's manifest (`sha256:…`).
        image_digest: String,
        /// When ECR received the image (AWS clock).
        image_pushed_at: DateTime<Utc>,
        /// Health check of green from the commit's `panda.toml`; empty when it sets none.
        health_check: HealthCheckSpec,
    }
    of_an_attempt {
        /// Step Functions execution that this deployment's push started.
        execution_arn: String,
        /// Id of the last history event of the execution that was acted on.
        last_history_event_id: i64,
        /// State of the execution: `ENSURE_INFRA_IN_PROGRESS`, `ENSURE_INFRA_COMPLETED`, `REGISTER_TASK_IN_PROGRESS`, `REGISTER_TASK_COMPLETED`,
        /// `DEPLOYMENT_READY`, `SUCCEEDED` or `FAILED`.
        polling_state: String,
        /// ECS cluster, from the execution's output.
        cluster_name: String,
        /// ECS service, from the execution's output.
        service_name: String,
        /// ECS task definition, from the execution's output.
        task_definition: String,
        /// ECS service or task set that served before.
        blue_service_arn: String,
        /// ECS service or task set of the new image.
        green_service_arn: String,
        /// Load balancer target group of blue.
        blue_target_group_arn: String,
        /// Load balancer target group of green.
        green_target_group_arn: String,
        /// URL of the production listener.
        blue_url: String,
        /// URL of green before the switch.
        green_url: String,
        /// Health check of green from the pipeline's output, which comes before that of the commit.
        output_health_check: HealthCheckSpec,
        /// `CodeDeploy` deployment (`d-…`) that shifts the traffic.
        code_deploy_deployment_id: String,
        /// ECS service deployment that shifts the traffic, by its ARN, where `CodeDeploy` does not.
        service_deployment_arn: String,
        /// `CodeDeploy` application.
        code_deploy_application_name: String,
        /// Median latency of blue in the health check, in milliseconds.
        blue_latency_ms: f64,
        /// Median latency of green in the health check, in milliseconds.
        green_latency_ms: f64,
        /// Failed share of blue's health checks, 0 to 1.
        blue_error_rate: f64,
        /// Failed share of green's health checks, 0 to 1.
        green_error_rate: f64,
        /// Percentage of the production traffic on green while it moves, 0 to 100.
        green_weight: f64,
        /// Routes of the production listener when green became ready, which the listener guard compares before the switch.
        listener_routes: Vec<ListenerRoute>,
        /// Pauses of ECS's rollout in their order; the last one is present, or was the last to be approved.
        pauses: Vec<SeenPause>,
        /// Side with the traffic at the end: `blue` or `green`.
        final_service: String,
        /// When AWS ends the wait for the switch by itself (AWS clock).
        ready_until: DateTime<Utc>,
        /// When AWS terminated blue after its termination wait (AWS clock).
        blue_terminated_at: DateTime<Utc>,
        /// When the traffic was seen on blue again after a requested rollback (a replica's clock).
        restored_at: DateTime<Utc>,
        /// True while the attempt waits for the renewal of its AWS connection.
        awaits_renewal: bool,
        /// Time for which it has waited so far, in milliseconds, without the present wait.
        renewal_wait_ms: i64,
    }
}

impl Facts {
    /// Keys of the facts that reports show after the deployment is archived.
    pub const ARCHIVED: &'static [&'static str] = &[
        "commit_sha",
        "committed_at",
        "commit_author",
        "commit_subject",
        "image_digest",
        "execution_arn",
        "code_deploy_deployment_id",
        "service_deployment_arn",
        "blue_latency_ms",
        "green_latency_ms",
        "blue_error_rate",
        "green_error_rate",
        "final_service",
        "ready_until",
        "blue_terminated_at",
        "restored_at",
    ];

    /// Names of the fields that are filled from the pipeline's output, in the order of [`Self::texts_mut`].
    pub const TEXTS: [&'static str; 12] = [
        "cluster_name",
        "service_name",
        "task_definition",
        "blue_service_arn",
        "green_service_arn",
        "blue_target_group_arn",
        "green_target_group_arn",
        "blue_url",
        "green_url",
        "code_deploy_deployment_id",
        "service_deployment_arn",
        "code_deploy_application_name",
    ];

    /// Returns the fields that are filled from the pipeline's output.
    pub fn texts_mut(&mut self) -> [&mut Option<String>; 12] {
        [
            &mut self.cluster_name,
            &mut self.service_name,
            &mut self.task_definition,
            &mut self.blue_service_arn,
            &mut self.green_service_arn,
            &mut self.blue_target_group_arn,
            &mut self.green_target_group_arn,
            &mut self.blue_url,
            &mut self.green_url,
            &mut self.code_deploy_deployment_id,
            &mut self.service_deployment_arn,
            &mut self.code_deploy_application_name,
        ]
    }

    /// Returns the rollout that shifts the traffic, once it is known.
    pub fn rollout(&self) -> Option<RolloutId> {
        let native = self.service_deployment_arn.clone().map(RolloutId::EcsNative);
        native.or_else(|| self.code_deploy_deployment_id.clone().map(RolloutId::CodeDeploy))
    }

    /// Returns true when no fact is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reports that the execution is beyond `EnsureInfra`: blue/green, and with it Stage 4, has begun.
    pub fn is_beyond_infra(&self) -> bool {
        matches!(
            self.polling_state.as_deref(),
            Some("REGISTER_TASK_IN_PROGRESS" | "REGISTER_TASK_COMPLETED" | "DEPLOYMENT_READY" | "SUCCEEDED")
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stores_only_known_facts_under_their_names() {
        let facts = Facts {
            commit_sha: Some("abc".to_owned()),
            committed_at: DateTime::from_timestamp(1_767_600_000, 0),
            blue_latency_ms: Some(3.5),
            ..Facts::default()
        };
        let stored = serde_json::to_value(&facts).unwrap();
        assert_eq!(stored, json!({"commit_sha": "abc", "committed_at": 1_767_600_000, "blue_latency_ms": 3.5}));
        assert_eq!(serde_json::from_value::<Facts>(stored).unwrap(), facts);
        assert_eq!(serde_json::from_value::<Facts>(json!({"of_a_newer_program": 1})).unwrap(), Facts::default());
    }

    #[test]
    fn merge_keeps_facts_that_the_patch_does_not_set() {
        let mut facts =
            Facts { commit_sha: Some("abc".to_owned()), image_uri: Some("a".to_owned()), ..Facts::default() };
        facts.merge(Facts { image_uri: Some("b".to_owned()), ..Facts::default() });
        assert_eq!((facts.commit_sha.as_deref(), facts.image_uri.as_deref()), (Some("abc"), Some("b")));
    }

    #[test]
    fn archived_keys_are_fields() {
        assert!(Facts::ARCHIVED.iter().all(|key| Facts::KEYS.contains(key)));
    }
}
