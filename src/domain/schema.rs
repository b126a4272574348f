//! Compatibility of a program with the database's schema, which is newer than the program during an upgrade and after a rollback.
//!
//! Each migration records in the table `schema_versions` the oldest program that works with its schema. A migration without a
//! record counts as compatible with no older program: it is from a version that this program does not know.

use super::message::{Message, message};

/// A schema from before the first release, which has other migrations: this program changes nothing in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.message())]
pub struct Predecessor;

impl Predecessor {
    /// Returns the text for people.
    pub fn message(self) -> Message {
        message!("database.predecessor")
    }
}

/// A migration that was applied to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Number of the migration.
    pub version: i64,
    /// Oldest program that works with the schema, given as the newest migration that this program knows.
    pub works_with: Option<i64>,
}

/// Relation of a schema to a program that can use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// The schema lacks migrations that the program knows.
    Behind,
    /// The schema is the program's own, or newer and compatible with the program.
    Fits {
        /// Newest migration, if it is newer than the program.
        newer: Option<i64>,
    },
}

/// A schema that the program must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database has the schema of a newer Panda, which this version must not use: it has migration {applied}, this program knows {known} and older ones{needed}. \
     Start the newer version again; or stop all replicas and restore the backup from before the upgrade (docs/operations.md, Going back)",
    needed = works_with.map(|oldest| format!(", and one that knows {oldest} is needed")).unwrap_or_default()
)]
pub struct TooNew {
    /// Newest migration of the database.
    pub applied: i64,
    /// Newest migration that the program knows.
    pub known: i64,
    /// Migration that a program must know; none if a newer migration does not record it.
    pub works_with: Option<i64>,
}

/// Compares a schema with the migrations `applied` with a program that knows the migrations `known`.
///
/// # Errors
/// [`TooNew`] if the program must not use the schema.
pub fn fit(known: &[i64], applied: &[Applied]) -> Result<Fit, TooNew> {
    let newest = known.iter().copied().max().unwrap_or(0);
    let newer: Vec<&Applied> = applied.iter().filter(|migration| migration.version > newest).collect();
    if let Some(last) = newer.iter().map(|migration| migration.version).max() {
        // A single migration without a record decides: it may be incompatible with any program.
        let all_recorded = newer.iter().all(|migration| migration.works_with.is_some());
        let oldest = newer.iter().filter_map(|migration| migration.works_with).max().filter(|_| all_recorded);
        if oldest.is_none_or(|oldest| oldest > newest) {
            return Err(TooNew { applied: last, known: newest, works_with: oldest });
        }
    }
    if known.iter().any(|version| !applied.iter().any(|migration| migration.version == *version)) {
        return Ok(Fit::Behind);
    }
    Ok(Fit::Fits { newer: newer.iter().map(|migration| migration.version).max() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [i64; 3] = [13, 14, 15];

    fn applied(newer: &[(i64, Option<i64>)]) -> Vec<Applied> {
        let own = KNOWN.map(|version| Applied { version, works_with: None });
        let newer = newer.iter().map(|&(version, works_with)| Applied { version, works_with });
        own.into_iter().chain(newer).collect()
    }

    #[test]
    fn own_schema_fits() {
        assert_eq!(fit(&KNOWN, &applied(&[])), Ok(Fit::Fits { newer: None }));
    }

    #[test]
    fn detects_a_missing_migration_anywhere() {
        for missing in 0..KNOWN.len() {
            let mut there = applied(&[]);
            there.remove(missing);
            assert_eq!(fit(&KNOWN, &there), Ok(Fit::Behind));
        }
        assert_eq!(fit(&KNOWN, &[]), Ok(Fit::Behind));
        let mut there = applied(&[(16, Some(15))]);
        there.remove(0);
        assert_eq!(fit(&KNOWN, &there), Ok(Fit::Behind));
    }

    #[test]
    fn newer_schema_fits_if_every_migration_is_compatible() {
        assert_eq!(fit(&KNOWN, &applied(&[(16, Some(14)), (17, Some(15))])), Ok(Fit::Fits { newer: Some(17) }));
        for (newer, works_with) in [
            (vec![(16, Some(16))], Some(16)),
            (vec![(16, Some(16)), (17, Some(15))], Some(16)),
            (vec![(16, Some(15)), (17, Some(17))], Some(17)),
            (vec![(16, None)], None),
            (vec![(16, Some(15)), (17, None)], None),
            (vec![(16, None), (17, Some(16))], None),
        ] {
            let last = newer.last().map(|(version, _)| *version).unwrap_or_default();
            let expected = TooNew { applied: last, known: 15, works_with };
            assert_eq!(fit(&KNOWN, &applied(&newer)), Err(expected), "{newer:?}");
        }
    }

    #[test]
    fn error_names_the_remedy() {
        let words = TooNew { applied: 17, known: 15, works_with: Some(16) }.to_string();
        assert!(
            words.contains("has migration 17") && words.contains("knows 15") && words.contains("knows 16 is needed"),
            "{words}"
        );
        assert!(words.contains("newer version") && words.contains("backup"), "{words}");
        let words = TooNew { applied: 17, known: 15, works_with: None }.to_string();
        assert!(!words.contains("is needed"), "{words}");
    }
}
