//! Deployments that a status event of AWS is about.

use super::{Db, DbError};
use crate::domain::status_event::StatusSubject;

impl Db {
    /// Returns the ids of unfinished deployments that `subjects` are about.
    pub async fn deployments_about(&self, subjects: &[StatusSubject]) -> Result<Vec<String>, DbError> {
        let mut executions = Vec::new();
        let (mut code_deploy, mut services): ([Vec<String>; 3], [Vec<String>; 4]) = Default::default();
        for subject in subjects.iter().cloned() {
            match subject {
                StatusSubject::Execution(arn) => executions.push(arn),
                StatusSubject::CodeDeploy { account, region, id } => {
                    code_deploy.iter_mut().zip([account, region, id]).for_each(|(list, text)| list.push(text));
                }
                StatusSubject::Service { account, region, cluster, name } => {
                    services.iter_mut().zip([account, region, cluster, name]).for_each(|(list, text)| list.push(text));
                }
            }
        }
        let [accounts, regions, ids] = code_deploy;
        let [service_accounts, service_regions, clusters, names] = services;
        let found = sqlx::query_scalar!(
            "SELECT id FROM deployments
             WHERE (status IN ('RUNNING', 'DEPLOYMENT_READY') OR (status = 'COMPLETED' AND active)) AND NOT queued
               AND (facts ->> 'execution_arn' = ANY ($1)
                    OR (account_id, region, facts ->> 'code_deploy_deployment_id') IN (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))
                    OR (account_id, region, facts ->> 'cluster_name', facts ->> 'service_name')
                       IN (SELECT * FROM unnest($5::text[], $6::text[], $7::text[], $8::text[])))",
            &executions,
            &accounts,
            &regions,
            &ids,
            &service_accounts,
            &service_regions,
            &clusters,
            &names
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(found)
    }

    /// Requests a look at the resting deployments whose rollout of ECS is of one of the services that `subjects` are about; returns their number. Records that
    /// events of their accounts and regions arrive, once a minute.
    pub async fn request_looks_about(&self, subjects: &[StatusSubject]) -> Result<usize, DbError> {
        let mut services: [Vec<&str>; 4] = Default::default();
        for subject in subjects {
            if let StatusSubject::Service { account, region, cluster, name } = subject {
                services.iter_mut().zip([account, region, cluster, name]).for_each(|(list, text)| list.push(text));
            }
        }
        let [accounts, regions, clusters, names] = services;
        if accounts.is_empty() {
            return Ok(0);
        }
        let requested = sqlx::query!(
            "WITH requested AS (
             UPDATE deployments SET look_requested_at = clock_timestamp()
             WHERE id IN (SELECT id FROM deployments
                          WHERE watched AND NOT active AND facts ? 'service_deployment_arn'
                            AND (account_id, region, split_part(facts ->> 'service_deployment_arn', '/', 2), split_part(facts ->> 'service_deployment_arn', '/', 3))
                                IN (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]))
                          ORDER BY id FOR NO KEY UPDATE)
             RETURNING account_id, region),
             recorded AS (
             INSERT INTO status_event_regions AS r (account_id, region) SELECT DISTINCT account_id, region FROM requested ORDER BY account_id, region
             ON CONFLICT (account_id, region) DO UPDATE SET received_at = EXCLUDED.received_at
             WHERE r.received_at < EXCLUDED.received_at - interval '1 minute')
             SELECT count(*) AS \"count!\" FROM requested",
            &accounts as &[&str],
            &regions as &[&str],
            &clusters as &[&str],
            &names as &[&str]
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(usize::try_from(requested.count).unwrap_or_default())
    }
}
