//! Compiles `clients/typescript` against the API's present document, runs its tests with Node's runner, and drives deployments of a real Panda with its example.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use panda_sandbox::git::SourceFile;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::environment::{Environment, OWNER, hello};
use crate::support::panda::Panda;
use crate::support::wait_for;

const REMEDY: &str = "Install it with `scripts/install.sh test` (which `make test` does).";

/// A compiled copy of the package, so that concurrent tests do not write the same files.
struct Package {
    folder: TempDir,
}

impl Package {
    async fn compiled() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/typescript");
        let modules = source.join("node_modules");
        assert!(modules.join("openapi-fetch/package.json").is_file(), "{} is incomplete. {REMEDY}", modules.display());
        let package = Self { folder: tempfile::tempdir().unwrap() };
        // Beside the package, as in the repository.
        let document = serde_json::to_vec(&panda::http::document()).unwrap();
        std::fs::write(package.folder.path().join("openapi.json"), document).unwrap();
        let folder = package.path();
        for part in ["src", "test", "examples"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
            for file in std::fs::read_dir(source.join(part)).unwrap().map(Result::unwrap) {
                std::fs::copy(file.path(), folder.join(part).join(file.file_name())).unwrap();
            }
        }
        for file in ["package.json", "tsconfig.json"] {
            std::fs::copy(source.join(file), folder.join(file)).unwrap();
        }
        std::os::unix::fs::symlink(modules, folder.join("node_modules")).unwrap();
        package.npm("build").await;
        package
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("typescript")
    }

    /// Runs a script of the package; fails with its whole output unless it succeeds.
    async fn npm(&self, script: &str) -> String {
        let output = self.run("npm", &["run", "--silent", script], &[]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }

    /// Deploys a repository with the example of the README: its output, errors, and whether it succeeded.
    async fn deploy(&self, server: &str, repo: &str) -> (String, String, bool) {
        let repository = format!("{OWNER}/{repo}");
        let output = self.run("node", &["build/deploy.js", &repository], &[("PANDA_SERVER", server)]).await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr), output.status.success())
    }

    async fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).envs(variables.iter().copied()).current_dir(self.path()).stdin(Stdio::null());
        let output = command.env_remove("PANDA_TOKEN").kill_on_drop(true).output().await;
        output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}. {REMEDY}"))
    }
}

#[test]
fn client_typescript__has_the_version_of_the_program() {
    let package: Value = serde_json::from_str(&panda_testing::text("clients/typescript/package.json")).unwrap();
    assert_eq!(package["version"], env!("CARGO_PKG_VERSION"));
}

/// One test, because compiling takes longer than the rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_typescript__compiles_and_reports_how_deployments_end() {
    let package = Package::compiled().await;
    passes_its_own_tests(&package).await;
    drives_a_deployment_to_green(&package).await;
    reports_failures_and_refusals(&package).await;
}

async fn passes_its_own_tests(package: &Package) {
    let said = package.npm("test").await;
    let passed = said.lines().find_map(|line| line.strip_prefix("ℹ pass ")).unwrap_or_else(|| panic!("{said}"));
    assert!(passed.parse::<u32>().unwrap() > 0, "no test was run: {said}");
}

async fn drives_a_deployment_to_green(package: &Package) {
    let env = Environment::with_files(hello("2.0.0")).await;
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("Panda is ready", async || panda.is_ready().await).await;
    panda.connect(&env).await;

    let (said, errors, succeeded) = package.deploy(&panda.base, &env.repo).await;
    assert!(succeeded, "{said}{errors}");
    assert_eq!(said.lines().filter(|line| *line == "Deployment ready for manual traffic switch").count(), 1, "{said}");
    let last: Vec<&str> = said.lines().last().unwrap().split(' ').collect();
    let [id, "COMPLETED", "green", digest] = last[..] else { panic!("{said}") };
    let (_, result) = panda.get(&format!("/deploy/{id}/result")).await;
    assert_eq!((&result["data"]["status"], &result["data"]["finalService"]), (&json!("COMPLETED"), &json!("green")));
    assert_eq!(result["data"]["imageDigest"], digest);
    panda.stop().await;
}

async fn reports_failures_and_refusals(package: &Package) {
    let broken = SourceFile::new("Dockerfile", "FROM busybox:1\nRUN echo broken; exit 9\n");
    let env = Environment::with_files(vec![broken]).await;
    let panda = Panda::builder().environment(&env).server().await;
    wait_for("Panda is ready", async || panda.is_ready().await).await;
    panda.connect(&env).await;
    let (said, errors, succeeded) = package.deploy(&panda.base, &env.repo).await;
    assert!(!succeeded && errors.contains("BUILD_FAILED"), "{said}{errors}");
    panda.stop().await;

    let locked = Panda::builder().environment(&env).auth().server().await;
    wait_for("Panda is ready", async || locked.is_ready().await).await;
    let (said, errors, succeeded) = package.deploy(&locked.base, &env.repo).await;
    assert!(!succeeded && errors.starts_with("NOT_SIGNED_IN: "), "{said}{errors}");
    locked.stop().await;
}
