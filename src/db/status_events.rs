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
             WHERE status IN ('RUNNING', 'DEPLOYMENT_READY') AND NOT queued
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
}
