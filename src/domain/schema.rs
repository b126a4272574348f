//! Whether a program works with the schema that it finds: during an upgrade, and after one that is taken back, the schema is newer than the program.
//!
//! Each migration since 15 says in the table `schema_versions` which programs its schema works with. One that does not say it is taken for one that
//! works with none: it is from a version that this one knows nothing of.

/// A migration that the database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i64,
    /// The oldest program that its schema works with, as the newest migration that that one knows.
    pub works_with: Option<i64>,
}

/// What a schema is to a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Migrations are missing that the program knows.
    Behind,
    /// It is the program's own, or a newer one that works with it.
    Fits {
        /// The newest migration, when it is newer than the program.
        newer: Option<i64>,
    },
}

/// A schema that the program must not touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database's schema is that of a newer Panda, which this one must not use: it has migration {applied}, this program knows {known} and older ones{needed}. \
     Start the newer version again; or stop all replicas and restore the backup from before the upgrade (docs/operations.md, Going back)",
    needed = works_with.map(|oldest| format!(", and one that knows {oldest} is needed")).unwrap_or_default()
)]
pub struct TooNew {
    /// The newest migration that the database has.
    pub applied: i64,
    /// The newest one that the program knows.
    pub known: i64,
    /// The one that a program has to know, where all of the newer ones say so.
    pub works_with: Option<i64>,
}

/// What a schema with the migrations `applied` is to a program with the migrations `known`.
///
/// # Errors
/// When the program must not use it.
pub fn fit(known: &[i64], applied: &[Applied]) -> Result<Fit, TooNew> {
    let newest = known.iter().copied().max().unwrap_or(0);
    let newer: Vec<&Applied> = applied.iter().filter(|migration| migration.version > newest).collect();
    if let Some(last) = newer.iter().map(|migration| migration.version).max() {
        // One that says nothing decides: it may have been made for any program.
        let said = newer.iter().all(|migration| migration.works_with.is_some());
        let oldest = newer.iter().filter_map(|migration| migration.works_with).max().filter(|_| said);
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
    fn the_own_schema_fits_whatever_it_says_of_older_programs() {
        assert_eq!(fit(&KNOWN, &applied(&[])), Ok(Fit::Fits { newer: None }));
    }

    #[test]
    fn one_that_is_missing_is_seen_wherever_it_is() {
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
    fn a_newer_one_fits_as_long_as_each_step_to_it_works_with_the_program() {
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
    fn too_new_says_what_to_do() {
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
