//! Two owners on one builder: neither reads from the other's builds, nor adds anything to them.

use panda::clients::build::BuildError;
use panda::clients::buildkit::MountedSecrets;
use panda::domain::builder::BuilderChoice;

use super::{TestEngine, Wanted, build, on_both_engines};

const SECRET_FILE: &str = "acme-secret-of-the-image";

on_both_engines!(
    cache__separate_per_owner,
    cache__secret_not_shared_between_owners,
    base_image__local_image_refused,
    base_image__pulled_layers_not_shared_between_owners,
    frontend__forged_refused,
);

async fn cache__separate_per_owner(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::BuildKit);
    let mark = super::name();
    let dockerfile = format!(
        "FROM busybox:1\nRUN --mount=type=cache,id=shared,target=/c : {mark}; cat /c/{mark} 2>/dev/null; echo written by $RANDOM >> /c/{mark}; date +%N > /stamp\n"
    );
    let files = [("Dockerfile", dockerfile.as_str())];
    let first = build(&builder, Wanted::new("acme", &files)).await;
    first.output();
    let read = |built: &super::Built| built.lines.iter().any(|line| line.starts_with("written by"));
    assert!(!read(&first), "{first:#?}");
    assert!(!first.was_cached("RUN"));
    let again = build(&builder, Wanted::new("ACME", &files)).await;
    again.output();
    assert!(again.was_cached("RUN"), "owner names are case-insensitive: {again:#?}");
    let other = build(&builder, Wanted::new("evil", &files)).await;
    assert!(!other.was_cached("RUN"), "{other:#?}");
    other.output();
    assert!(!read(&other), "{other:#?}");
}

/// Secrets are not part of cache keys: with a common cache, other owners would use the layer that an attacker's secret shaped.
async fn cache__secret_not_shared_between_owners(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::BuildKit);
    let mark = super::name();
    let dockerfile = format!(
        "FROM busybox:1\nRUN --mount=type=secret,id=npmrc : {mark}; cp /run/secrets/npmrc /used\nRUN cat /used; date +%N\n"
    );
    let files = [("Dockerfile", dockerfile.as_str())];
    let with = |owner, value: &str| {
        let secrets = MountedSecrets([("npmrc".to_owned(), value.to_owned().into())].into());
        Wanted { secrets, ..Wanted::new(owner, &files) }
    };
    assert!(build(&builder, with("evil", "registry=evil")).await.output().contains("registry=evil"));
    let built = build(&builder, with("acme", "registry=good")).await;
    assert!(built.output().contains("registry=good") && !built.output().contains("registry=evil"), "{built:#?}");
}

async fn base_image__local_image_refused(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::BuildKit);
    let files = [("Dockerfile", "FROM busybox:1\nCOPY secret /secret\n"), ("secret", SECRET_FILE)];
    let wanted = Wanted::new("acme", &files);
    let image = wanted.image.clone();
    build(&builder, wanted).await.output();
    let id = engine.docker().find_image(&image).await.unwrap().unwrap().id;
    let hex = id.strip_prefix("sha256:").unwrap().to_owned();
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let builder = engine.builder(choice);
        for reference in [&hex[..2], &hex[..12], &hex, &id, &image] {
            for dockerfile in [
                format!("FROM {reference}\nRUN cat /secret\n"),
                format!("FROM busybox:1\nCOPY --from={reference} /secret /stolen\nRUN cat /stolen\n"),
            ] {
                let files = [("Dockerfile", dockerfile.as_str())];
                let built = build(&builder, Wanted::new("evil", &files)).await;
                assert!(built.result.is_err(), "{dockerfile}: {built:#?}");
                assert!(!format!("{built:?}").contains(SECRET_FILE), "{dockerfile}: {built:#?}");
            }
        }
        let dockerfile = format!("FROM busybox:1\nRUN --mount=from={image},target=/m cat /m/secret\n");
        let files = [("Dockerfile", dockerfile.as_str())];
        let built = build(&builder, Wanted::new("evil", &files)).await;
        assert!(built.result.is_err() && !format!("{built:?}").contains(SECRET_FILE), "{built:#?}");
    }
}

/// The classic builder takes a layer from any local image whose history claims the same parent and command.
async fn base_image__pulled_layers_not_shared_between_owners(engine: &TestEngine) {
    let victim = [("Dockerfile", "FROM scratch\nCOPY ca.crt /etc/ca.crt\n"), ("ca.crt", "the real authority")];
    for choice in [BuilderChoice::BuildKit, BuilderChoice::Classic] {
        let builder = engine.builder(choice);
        let first = Wanted::new("acme", &victim);
        let genuine = first.image.clone();
        build(&builder, first).await.output();
        // The attacker's image: the same commands in its history, but other contents.
        panda_testing::forged_images::same_history_other_files(
            &engine.engine,
            &genuine,
            "etc/ca.crt",
            b"the attacker's authority",
        )
        .await;
        engine.docker().remove_image(&genuine).await.unwrap();
        let second = Wanted::new("acme", &victim);
        let image = second.image.clone();
        let built = build(&builder, second).await;
        built.output();
        assert!(!built.lines.iter().any(|line| line.contains("Using cache")), "{built:#?}");
        let contents = panda_testing::forged_images::file(&engine.engine, &image, "etc/ca.crt").await;
        assert_eq!(String::from_utf8_lossy(&contents), "the real authority", "{choice:?}");
    }
}

/// A frontend writes the build graph itself, including other owners' cache keys.
async fn frontend__forged_refused(engine: &TestEngine) {
    let builder = engine.builder(BuilderChoice::BuildKit);
    let files = [("Dockerfile", "# syntax=127.0.0.1:1/evil/frontend:1\nFROM busybox:1\nRUN true\n")];
    let built = build(&builder, Wanted::new("evil", &files)).await;
    let Err(error @ BuildError::Unsupported(_)) = &built.result else { panic!("{built:#?}") };
    let text = error.to_string();
    assert!(text.contains("line 1") && text.contains("PANDA_BUILD_FRONTENDS"), "{text}");
    // Forms that only newer daemons recognise are never followed.
    for first in [
        "// syntax=127.0.0.1:1/evil/frontend:1",
        "{\"syntax\": \"127.0.0.1:1/evil/frontend:1\"}",
        "#!/x\n# syntax=127.0.0.1:1/e/f:1",
    ] {
        let dockerfile = format!("{first}\nFROM busybox:1\nRUN true\n");
        let files = [("Dockerfile", dockerfile.as_str())];
        let built = build(&builder, Wanted::new("evil", &files)).await;
        assert!(!format!("{built:?}").contains("127.0.0.1:1/v2"), "the frontend was requested: {built:#?}");
    }
}
