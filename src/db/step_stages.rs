//! Stages of the steps, for reports: a copy of the program's list of steps (`steps::Step::stages`).

use super::{Db, DbError};
use crate::domain::step_stage::StepStage;

impl Db {
    /// Stores `stages` unless they are stored already, and keeps those of steps that only another version knows.
    pub async fn store_step_stages(&self, stages: &[StepStage]) -> Result<(), DbError> {
        let stored = sqlx::query!("SELECT step, stage, later_stage FROM step_stages").fetch_all(&self.pool).await?;
        let is_stored = |own: &StepStage| {
            stored.iter().any(|row| {
                (&*row.step, &*row.stage, row.later_stage.as_deref()) == (own.step, own.stage, own.later_stage)
            })
        };
        if stages.iter().all(is_stored) {
            return Ok(());
        }
        let names: Vec<String> = stages.iter().map(|own| own.step.to_owned()).collect();
        let first: Vec<String> = stages.iter().map(|own| own.stage.to_owned()).collect();
        let later: Vec<Option<String>> = stages.iter().map(|own| own.later_stage.map(str::to_owned)).collect();
        sqlx::query!(
            "INSERT INTO step_stages (step, stage, later_stage)
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
             ON CONFLICT (step) DO UPDATE SET stage = excluded.stage, later_stage = excluded.later_stage",
            &names,
            &first,
            &later as _
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
