//! Progress of a BuildKit build: steps with their output.

use panda::domain::{build_spec::BuildOptions, builder::BuilderChoice};

use super::{TestEngine, Wanted, build, on_both_engines};

on_both_engines!(
    build_step__has_name_time_cache_and_error,
    build_step__unused_stage_skipped,
    build_step__arguments_target_and_times_applied
);

async fn build_step__has_name_time_cache_and_error(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::Auto);
    let mark = super::name();
    let good = format!("FROM busybox:1\nRUN : {mark}; printf '\\033[31mred\\033[0m\\n10%%\\r100%%\\n'; sleep 0.2\n");
    let first = build(&builder, Wanted::new("acme", &[("Dockerfile", &good)])).await;
    assert!(
        first.lines.iter().any(|line| line == "red") && first.lines.iter().any(|line| line == "100%"),
        "{first:#?}"
    );
    let step = first.steps.iter().find(|step| step.name.contains("RUN")).unwrap();
    assert!(!step.cached && step.error.is_none() && step.duration_ms >= 150, "{step:#?}");
    let again = build(&builder, Wanted::new("acme", &[("Dockerfile", &good)])).await;
    assert!(again.was_cached("RUN"));
    let bad = "FROM busybox:1\nRUN echo the disk is on fire && exit 3\n";
    let built = build(&builder, Wanted::new("acme", &[("Dockerfile", bad)])).await;
    let step = built.steps.iter().find(|step| step.name.contains("RUN")).unwrap();
    assert!(step.error.as_deref().unwrap().contains("exit code: 3"), "{step:#?}");
    let error = built.result.unwrap_err();
    assert!(format!("{error:?}").contains("the disk is on fire"), "{error:?}");
}

async fn build_step__unused_stage_skipped(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::Auto);
    let dockerfile = "FROM busybox:1 AS test\nRUN exit 3\nFROM busybox:1\nRUN echo fine\n";
    build(&builder, Wanted::new("acme", &[("Dockerfile", dockerfile)])).await.output();
    let options = BuildOptions { target: Some("test".to_owned()), ..BuildOptions::default() };
    let files = [("Dockerfile", dockerfile)];
    let built = build(&builder, Wanted { options, ..Wanted::new("acme", &files) }).await;
    assert!(built.result.is_err(), "{built:#?}");
}

async fn build_step__arguments_target_and_times_applied(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::Auto);
    let dockerfile = "FROM busybox:1\nARG SOURCE_COMMIT\nARG SOURCE_DATE_EPOCH\nARG COLOUR\nCOPY x /x\n\
                      RUN echo \"c=$SOURCE_COMMIT e=$SOURCE_DATE_EPOCH k=$COLOUR t=$(stat -c %Y /x) m=$(stat -c %a:%u /x)\"\n";
    let args = [("COLOUR".to_owned(), "blue; $(id) '\"".to_owned())].into();
    let files = [("Dockerfile", dockerfile), ("x", "1")];
    let built = build(
        &builder,
        Wanted { options: BuildOptions { args, ..BuildOptions::default() }, ..Wanted::new("acme", &files) },
    )
    .await;
    let output = built.output();
    assert!(output.contains("c=0123 e=1700000000 k=blue; $(id) '\" t=1700000000 m=644:0"), "{output}");
}
