#![expect(clippy::unnecessary_wraps, reason = "expected values have the type of what they are compared with")]

use serde_json::json;

use super::*;

const LISTENER: &str = "arn:listener";

fn pair() -> TargetPair {
    TargetPair { blue: "blue".to_owned(), green: "green".to_owned() }
}

fn action(groups: &[(&str, u32)]) -> RouteAction {
    RouteAction::forward(groups.iter().map(|(name, weight)| ((*name).to_owned(), *weight)))
}

fn route_of(listener: &str, arn: &str, sends: RouteAction) -> ListenerRoute {
    ListenerRoute { arn: arn.to_owned(), listener: listener.to_owned(), sends }
}

fn route(arn: &str, groups: &[(&str, u32)]) -> ListenerRoute {
    route_of(LISTENER, arn, action(groups))
}

fn answers(arn: &str, with: &str) -> ListenerRoute {
    route_of(LISTENER, arn, RouteAction::Other(with.to_owned()))
}

fn conflict(now: &[ListenerRoute], before: Option<&[ListenerRoute]>) -> Option<ListenerConflict> {
    check_routes(&pair(), now, before).err()
}

fn changed(route: &str, was: &str, now: &str) -> Option<ListenerConflict> {
    Some(ListenerConflict::Changed { route: route.to_owned(), was: was.to_owned(), now: now.to_owned() })
}

fn off_blue(route: &str, now: &str) -> Option<ListenerConflict> {
    Some(ListenerConflict::NotOnBlue { route: route.to_owned(), now: now.to_owned(), blue: "blue".to_owned() })
}

#[test]
fn accepts_listener_that_sends_all_to_blue() {
    for weights in [&[("blue", 100), ("green", 0)][..], &[("blue", 1)], &[("blue", 0)], &[("green", 0), ("blue", 999)]]
    {
        let now = [route("default", weights)];
        assert_eq!(conflict(&now, None), None, "{weights:?}");
        assert_eq!(conflict(&now, Some(&[route("default", &[("blue", 100)])])), None, "{weights:?}");
    }
}

#[test]
fn refuses_reset_weights_and_shows_both() {
    let before = [route("default", &[("blue", 100), ("green", 0)])];
    for (weights, shown) in [
        (&[("blue", 0), ("green", 100)][..], "green 100 %"),
        (&[("blue", 50), ("green", 50)], "blue 50 %, green 50 %"),
        (&[("blue", 2), ("green", 1)], "blue 66.7 %, green 33.3 %"),
        (&[("blue", 0), ("green", 0)], "0 %"),
        (&[("blue", 9), ("other", 1)], "blue 90 %, other 10 %"),
        (&[("other", 1)], "other 100 %"),
    ] {
        let now = [route("default", weights)];
        assert_eq!(conflict(&now, Some(&before)), changed("default", "blue 100 %", shown), "{weights:?}");
    }
    for (weights, shown) in
        [(&[("green", 1)][..], "green 100 %"), (&[("blue", 9), ("green", 1)], "blue 90 %, green 10 %")]
    {
        assert_eq!(conflict(&[route("default", weights)], None), off_blue("default", shown), "not known before");
    }
}

#[test]
fn refuses_weighted_shift_that_is_in_progress() {
    let canary = [route("default", &[("blue", 90), ("green", 10)])];
    assert_eq!(conflict(&canary, None), off_blue("default", "blue 90 %, green 10 %"));
    // Unchanged since green became ready, but nothing is all on blue.
    assert_eq!(conflict(&canary, Some(&canary)), off_blue(LISTENER, "blue 90 %, green 10 %"));
}

#[test]
fn refuses_listener_that_answers_itself() {
    for with in ["fixed-response", "redirect"] {
        let now = [answers("default", with)];
        assert_eq!(conflict(&now, None), off_blue(LISTENER, with));
        assert_eq!(conflict(&now, Some(&now)), off_blue(LISTENER, with));
        assert_eq!(conflict(&now, Some(&[route("default", &[("blue", 1)])])), changed("default", "blue 100 %", with));
    }
    assert_eq!(conflict(&[route("default", &[("other", 1)])], None), off_blue(LISTENER, "other 100 %"));
}

#[test]
fn judges_rules_separately() {
    let before = [
        route("api", &[("blue", 1)]),
        route("preview", &[("green", 1)]),
        route("other-service", &[("other", 1)]),
        answers("default", "redirect"),
    ];
    assert_eq!(conflict(&before, Some(&before)), None, "a preview of green that was there before");
    assert_eq!(conflict(&before, None), off_blue("preview", "green 100 %"));
    let mut now = before.clone();
    now[2].sends = action(&[("another", 1)]);
    now[3].sends = RouteAction::Other("fixed-response".to_owned());
    assert_eq!(conflict(&now, Some(&before)), None, "rules of others may change");
    now[2].sends = action(&[("green", 1)]);
    assert_eq!(conflict(&now, Some(&before)), changed("other-service", "other 100 %", "green 100 %"));
    let added = [before.to_vec(), vec![route("new", &[("green", 1)])]].concat();
    assert_eq!(conflict(&added, Some(&before)), off_blue("new", "green 100 %"), "a rule that was added meanwhile");
    let added = [before.to_vec(), vec![route("new", &[("blue", 1)])]].concat();
    assert_eq!(conflict(&added, Some(&before)), None);
    assert_eq!(
        conflict(&before[1..], Some(&before)),
        off_blue(LISTENER, "green 100 %; other 100 %; redirect"),
        "blue's rule was deleted"
    );
}

#[test]
fn each_listener_must_reach_blue() {
    let now =
        [route_of("arn:http", "http", action(&[("blue", 1)])), route_of("arn:https", "https", action(&[("blue", 1)]))];
    assert_eq!(conflict(&now, None), None);
    let half = [now[0].clone(), route_of("arn:https", "https", RouteAction::Other("redirect".to_owned()))];
    assert_eq!(conflict(&half, None), off_blue("arn:https", "redirect"));
    assert_eq!(conflict(&half, Some(&now)), changed("https", "blue 100 %", "redirect"));
}

#[test]
fn keeps_routes_of_the_pair() {
    let routes = vec![
        route("a", &[("blue", 1)]),
        route("b", &[("other", 1)]),
        route("c", &[("green", 1)]),
        answers("d", "redirect"),
    ];
    let arns = |routes: &[ListenerRoute]| routes.iter().map(|route| route.arn.clone()).collect::<String>();
    assert_eq!(arns(&kept(Some(&pair()), routes.clone())), "ac");
    assert_eq!(arns(&kept(None, routes)), "abcd");
    let many = (0..100).map(|number| route(&number.to_string(), &[("blue", 1)])).collect();
    assert_eq!(kept(Some(&pair()), many).len(), MAX_KEPT);
}

#[test]
fn kept_routes_are_stored_compactly() {
    let stored = json!([{"arn": "r", "listener": LISTENER, "sends": {"forward": {"blue": 9, "green": 1}}},
                        {"arn": "d", "listener": LISTENER, "sends": {"other": "redirect"}}]);
    let routes = vec![route("r", &[("green", 10), ("blue", 90)]), answers("d", "redirect")];
    assert_eq!(serde_json::to_value(&routes).unwrap(), stored);
    assert_eq!(serde_json::from_value::<Vec<ListenerRoute>>(stored).unwrap(), routes);
}

fn target(state: &str, reason: Option<&str>) -> TargetHealth {
    TargetHealth { target: "10.0.0.1:80".to_owned(), state: state.to_owned(), reason: reason.map(str::to_owned) }
}

fn unhealthy(healthy: usize, judged: usize, example: &str) -> Result<(), ListenerConflict> {
    Err(ListenerConflict::Unhealthy {
        group: "green".to_owned(),
        healthy,
        judged,
        example: format!("10.0.0.1:80 {example}"),
    })
}

#[test]
fn accepts_healthy_targets() {
    let healthy = || target("healthy", None);
    let unused = target("unused", Some("Target.NotInUse"));
    let off = target("unavailable", Some("Target.HealthCheckDisabled"));
    for targets in [
        vec![healthy()],
        vec![healthy(), target("initial", Some("Elb.RegistrationInProgress"))],
        vec![healthy(), target("draining", Some("Target.DeregistrationInProgress"))],
        vec![healthy(), target("unhealthy.draining", None)],
        // No listener uses the target group before the switch: nothing is known about its targets.
        vec![unused.clone(), unused],
        vec![off],
    ] {
        assert_eq!(check_targets("green", &targets), Ok(()), "{targets:?}");
    }
}

#[test]
fn refuses_targets_that_are_not_healthy() {
    let failing = || target("unhealthy", Some("Target.ResponseCodeMismatch"));
    let shown = "unhealthy (Target.ResponseCodeMismatch)";
    assert_eq!(check_targets("green", &[failing()]), unhealthy(0, 1, shown));
    assert_eq!(check_targets("green", &[target("healthy", None), failing()]), unhealthy(1, 2, shown));
    assert_eq!(check_targets("green", &[target("initial", None)]), unhealthy(0, 1, "initial"));
    let stopped = target("unused", Some("Target.InvalidState"));
    assert_eq!(check_targets("green", &[stopped]), unhealthy(0, 1, "unused (Target.InvalidState)"));
    let none = Err(ListenerConflict::NoTargets { group: "green".to_owned() });
    assert_eq!(check_targets("green", &[]), none);
    assert_eq!(check_targets("green", &[target("draining", None)]), none);
}

#[test]
fn reads_name_of_a_target_group() {
    let arn = "arn:aws:elasticloadbalancing:ap-northeast-2:210987654321:targetgroup/shop-1/0123456789abcdef";
    assert_eq!(group_name(arn), "shop-1");
    assert_eq!(group_name("shop-1"), "shop-1");
}

#[test]
fn conflicts_name_finding_and_remedy() {
    let text = conflict(&[route("arn:rule", &[("green", 1)])], Some(&[route("arn:rule", &[("blue", 1)])]))
        .unwrap()
        .reason()
        .to_string();
    for part in ["arn:rule", "blue 100 %", "green 100 %", "restore"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = check_targets("green", &[]).unwrap_err().reason().to_string();
    assert!(text.contains("green"), "{text}");
}

#[test]
fn share_of_ecs_is_compared_with_the_weights() {
    let pair = TargetPair { blue: "b".to_owned(), green: "g".to_owned() };
    let route = |weights: &[(&str, u32)]| ListenerRoute {
        arn: "rule".to_owned(),
        listener: "rule".to_owned(),
        sends: RouteAction::forward(weights.iter().map(|(group, weight)| ((*group).to_owned(), *weight))),
    };
    for (weights, green) in [
        (vec![("b", 100), ("g", 0)], 0.0),
        (vec![("b", 1)], 0.0),
        (vec![("b", 4), ("g", 1)], 20.0),
        (vec![("b", 67), ("g", 33)], 33.3),
        (vec![("b", 999), ("g", 1)], 0.1),
        (vec![("b", 0), ("g", 7)], 100.0),
    ] {
        assert_eq!(check_share(&pair, &route(&weights), green), Ok(()), "{weights:?} {green}");
    }
    for (weights, green) in [
        (vec![("b", 100), ("g", 0)], 20.0),
        (vec![("b", 0), ("g", 100)], 20.0),
        (vec![("b", 999), ("g", 1)], 0.0),
        (vec![("b", 100), ("g", 0)], 0.1),
        (vec![("b", 78), ("g", 22)], 20.0),
        (vec![("b", 79), ("g", 20), ("other", 1)], 20.0),
        (vec![("b", 0), ("g", 0)], 0.0),
    ] {
        assert!(check_share(&pair, &route(&weights), green).is_err(), "{weights:?} {green}");
    }
    let redirects = ListenerRoute { sends: RouteAction::Other("redirect".to_owned()), ..route(&[]) };
    let said = check_share(&pair, &redirects, 20.0).unwrap_err().reason().to_string();
    assert!(said.contains("redirect") && said.contains("20 %"), "{said}");
}
