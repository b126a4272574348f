//! The places that the search covers.

use std::collections::HashMap;
use std::path::Path;

use bollard::query_parameters::ListImagesOptionsBuilder;
use futures_util::TryStreamExt as _;
use walkdir::WalkDir;

use crate::support::db::TestDb;
use crate::support::environment::Environment;

/// All rows of all tables as text; binary columns in hexadecimal.
pub async fn dump(db: &TestDb) -> String {
    let mut connection = db.psql().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert!(tables.len() > 5, "{tables:?}");
    let mut all = String::new();
    for table in tables {
        let sql = sqlx::AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap();
        all += &[&[table], rows.as_slice()].concat().join("\n");
    }
    assert!(all.contains("dep_") && all.contains("gh_"), "the dump contains the deployments");
    all
}

/// The image of a deployment as the engine exports it: configuration with history, and all layers uncompressed.
pub async fn image_of(env: &Environment, deployment: &str) -> Vec<u8> {
    let label = HashMap::from([("label", vec![format!("dev.panda.deployment={deployment}")])]);
    let options = ListImagesOptionsBuilder::default().all(true).filters(&label).build();
    let images = env.engine.docker().list_images(Some(options)).await.unwrap();
    assert!(!images.is_empty(), "the engine has the image that its container runs");
    let mut bytes = Vec::new();
    for image in images {
        let pieces: Vec<_> = env.engine.docker().export_image(&image.id).try_collect().await.unwrap();
        bytes.extend(pieces.concat());
    }
    bytes
}

/// Names and contents of all files below `folder`.
pub fn files_below(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in WalkDir::new(folder).into_iter().map(Result::unwrap) {
        all.extend_from_slice(entry.path().to_string_lossy().as_bytes());
        if entry.file_type().is_file() {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    assert!(all.len() > 100, "the folder contains the source");
    all
}
