//! The language of the command line: option, variable, locale.

use super::{panda, run};
use crate::support::db::TestDb;
use crate::support::panda::Panda;

#[tokio::test]
async fn cli_language__option_variable_locale() {
    let db = TestDb::new().await;
    let server = Panda::builder().on(&db).process().ready().await;
    let korean = "panda: 배포 결과를 찾을 수 없습니다: dep_x. 기존 배포는 panda list로 조회할 수 있습니다. (DEPLOYMENT_NOT_FOUND)\n";
    let english = "panda: There is no deployment dep_x. panda list lists the existing ones. (DEPLOYMENT_NOT_FOUND)\n";
    for (args, variables, expected) in [
        (&["--lang", "ko"][..], &[("PANDA_LANG", "en")][..], korean),
        (&[], &[("PANDA_LANG", "ko"), ("LC_ALL", "en_US.UTF-8")], korean),
        (&[], &[("LC_ALL", "ko_KR.UTF-8")], korean),
        (&[], &[("LANG", "ko_KR.UTF-8")], korean),
        (&[], &[("LC_ALL", "C"), ("LANG", "ko_KR.UTF-8")], english),
        (&[], &[], english),
        (&["--lang", "en"], &[("LANG", "ko_KR.UTF-8")], english),
    ] {
        let mut command = panda(&["result", "dep_x", "--server", &server.url]);
        let ended = run(command.args(args).envs(variables.iter().copied())).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (4, expected), "{args:?} {variables:?}");
    }
    let list = run(&mut panda(&["list", "--server", &server.url, "--lang", "ko"])).await;
    assert_eq!((list.code, list.stdout.as_str()), (0, "배포 없음\n"));
}

#[tokio::test]
async fn cli_language__unreachable_server() {
    let ended = run(&mut panda(&["list", "--server", "http://127.0.0.1:1", "--lang", "ko"])).await;
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.starts_with("panda: http://127.0.0.1:1에서 응답이 없습니다: "), "{ended:?}");
    let wrong = run(&mut panda(&["list", "--lang", "tlh"])).await;
    assert!(wrong.code == 2 && wrong.stderr.contains("use ko or en"), "{wrong:?}");
}
