//! Results: the same for a seed, near theory, in every form.

use serde_json::Value;

use crate::running::{figure, run};

/// Few enough for a test.
const FEW: [&str; 4] = ["--jobs", "24000", "--runs", "4"];

fn with_few<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &FEW].concat()
}

#[test]
fn a_seed_gives_the_same_bytes_on_one_thread_and_on_two() {
    let policies = "least-loaded,power-of-2,power-of-3,round-robin,random,central-queue,\
        join-idle-queue,least-work-of-2,snapshot:1,snapshot-two:1,snapshot-own:1,prequal,c3";
    for form in [&[][..], &["--json"], &["--csv"]] {
        let words =
            [&["--seed", "7", "--workers", "20", "--balancers", "2", "--policy", policies], form];
        let outputs = ["1", "2"].map(|threads| {
            let words = with_few(&[&words.concat()[..], &["--threads", threads]].concat());
            run(&words).expect(0).stdout
        });
        assert_eq!(outputs[0], outputs[1]);
        let other = with_few(&[&words.concat()[2..], &["--seed", "8"]].concat());
        assert_ne!(run(&other).expect(0).stdout, outputs[0]);
    }
}

#[test]
fn means_are_near_their_closed_forms() {
    let words =
        ["--seed", "1", "--load", "0.5", "--json", "--policy", "random,central-queue,round-robin"];
    for object in run(&with_few(&words)).expect(0).objects() {
        let (mean, theory) = (figure(&object, "mean"), figure(&object, "closed_form"));
        assert!((mean / theory - 1.0).abs() < 0.06, "{object}");
        assert!(figure(&object, "mean_half_width") > 0.0);
    }
}

#[test]
fn every_form_has_the_columns_of_the_table() {
    let words = with_few(&["--seed", "1", "--workers", "10", "--policy", "least-loaded,random"]);
    let form = |form| run(&[&words[..], &[form]].concat()).expect(0);
    let objects = form("--json").objects();
    assert_eq!(objects.len(), 2);
    let names = "policy workers balancers capacity load mean closed_form p50 p90 p99 p99.9 max waiting \
        imbalance variation longest_line most_pending answered refused failed regret";
    let csv = form("--csv").stdout;
    let head: Vec<&str> = csv.lines().next().unwrap_or_default().split(',').collect();
    for name in names.split_whitespace() {
        assert!(objects.iter().all(|object| object.get(name).is_some()), "{name} in {objects:?}");
        assert!(head.contains(&name), "{name} in {head:?}");
    }
    assert_eq!(csv.lines().count(), 3);
    let is_exact: Vec<&Value> = objects.iter().map(|it| &it["closed_form_is_exact"]).collect();
    assert_eq!(is_exact, [&Value::Null, &Value::Bool(true)]);
    // The columns do not hang on what came out.
    let other = ["--policy", "c3", "--arrivals", "closed:9:1", "--runs", "1", "--jobs", "900"];
    let other = run(&[&other[..], &["--csv"]].concat()).expect(0).stdout;
    assert_eq!(other.lines().next(), csv.lines().next());
    let text = run(&words).expect(0).stdout;
    assert!(text.starts_with("seed 1, 10 workers, load 0.9000, exponential"), "{text}");
    for column in ["closed form", "p99.9", "imbalance", "most pending", "regret", "±"] {
        assert!(text.contains(column), "{column} in {text}");
    }
}

#[test]
fn the_head_tells_all_that_is_not_a_default() {
    let words = with_few(&["--seed", "1", "--workers", "10", "--load", "0.5"]);
    let more = "--speeds 1,0.5 --weights 2,1 --costs 1..4 --arrivals bursts:5:10 --slow-start 3 \
        --no-penalty --with-replacement --warm-up 0.4 --policy random";
    let more: Vec<&str> = more.split_whitespace().collect();
    let text = run(&[&words[..], &more].concat()).expect(0).stdout;
    let head = text.lines().next().unwrap_or_default();
    for part in [
        "speeds 1,0.5",
        "weights 2,1",
        "costs 1..4",
        "bursts:5:10",
        "slow start 3 s",
        "no penalty",
        "drawn with replacement",
        "4 runs of 6000 requests",
        "40 % of each not measured",
    ] {
        assert!(head.contains(part), "{part} in {head}");
    }
}

#[test]
fn the_seed_is_told_when_it_was_drawn() {
    let words = ["--workers", "2", "--policy", "random", "--json"];
    let first = run(&with_few(&words)).expect(0);
    let seed = first.objects()[0]["seed"].as_u64().expect("a seed").to_string();
    let again = run(&with_few(&[&words[..], &["--seed", &seed]].concat())).expect(0);
    assert_eq!(first.stdout, again.stdout);
}

#[test]
fn a_sweep_has_a_row_for_each_policy_and_point() {
    let words = ["--seed", "1", "--workers", "10", "--policy", "least-loaded,random", "--json"];
    let swept =
        |sweep| run(&with_few(&[&words[..], &["--sweep", sweep]].concat())).expect(0).objects();
    let loads = swept("load=0.5,0.8");
    let means: Vec<f64> = loads.iter().map(|object| figure(object, "mean")).collect();
    assert_eq!(means.len(), 4);
    assert!(means[2] > means[0] && means[3] > means[1], "{means:?}");
    // A subset is of the workers that a point has.
    let all = ["--balancers", "15", "--subset", "12", "--sweep", "workers=12,15"];
    assert_eq!(run(&with_few(&[&words[..], &all].concat())).expect(0).objects().len(), 4);
    let workers: Vec<Option<u64>> =
        swept("workers=4..6").iter().map(|it| it["workers"].as_u64()).collect();
    assert_eq!(workers, [4, 4, 5, 5, 6, 6].map(Some));
}

#[test]
fn a_capacity_and_a_line_bound_what_is_pending_and_refuse_the_rest() {
    let words = with_few(&[
        "--seed",
        "1",
        "--workers",
        "4",
        "--load",
        "1.5",
        "--capacity",
        "2",
        "--line",
        "3",
        "--json",
        "--policy",
        "least-loaded",
    ]);
    let object: &Value = &run(&words).expect(0).objects()[0];
    assert_eq!(
        (object["most_pending"].as_u64(), object["longest_line"].as_u64()),
        (Some(2), Some(3))
    );
    // What comes above what can be done is refused: a third, and what bad luck adds.
    let refused =
        figure(object, "refused") / (figure(object, "refused") + figure(object, "answered"));
    assert!((0.33..0.4).contains(&refused), "{object}");
}

/// Under central-queue no worker has more than its slots, whatever the capacity.
#[test]
fn the_capacity_that_is_told_is_the_one_in_force() {
    let words = ["--seed", "1", "--workers", "4", "--slots", "2", "--load", "0.5", "--policy"];
    let words = with_few(&[&words[..], &["least-loaded,central-queue"]].concat());
    let capacities = |more: &[&str]| {
        let objects = run(&[&words[..], more].concat()).expect(0).objects();
        objects.iter().map(|object| object["capacity"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(capacities(&["--json"]), [None, Some(2)]);
    assert_eq!(capacities(&["--json", "--capacity", "6"]), [Some(6), Some(2)]);
    let swept = capacities(&["--json", "--sweep", "capacity=4,5"]);
    assert_eq!(swept, [Some(4), Some(2), Some(5), Some(2)]);
    let text = run(&[&words[..], &["--capacity", "6"]].concat()).expect(0).stdout;
    assert!(text.contains(", capacity 6, its slots under central-queue,"), "{text}");
}

#[test]
fn faults_and_a_slow_start_change_what_comes_out() {
    let words = |more: &[&'static str]| {
        let all = [
            "--seed",
            "1",
            "--workers",
            "10",
            "--load",
            "0.6",
            "--json",
            "--policy",
            "least-loaded",
        ];
        let object = run(&with_few(&[&all[..], more].concat())).expect(0).objects()[0].clone();
        (figure(&object, "mean"), figure(&object, "failed"))
    };
    let (well, none) = words(&[]);
    let (slow, _) = words(&["--fault", "slow:0-4:0:1000000:10"]);
    let (_, failed) = words(&["--fault", "gone:0:200:300", "--slow-start", "50"]);
    assert!(none == 0.0 && failed > 0.0 && slow > 1.2 * well, "{well} {slow} {failed}");
}

#[test]
fn pictures_come_in_both_formats_and_all_kinds() {
    let folder = tempfile::tempdir().unwrap();
    let few = with_few(&["--seed", "1", "--workers", "5", "--policy", "least-loaded,random"]);
    let cases: [(&str, &[&str]); 3] = [
        ("Mean response time", &["--sweep", "load=0.3,0.6,0.9"]),
        ("Requests that take longer", &[]),
        ("Requests pending", &["--fault", "stuck:0:100:200"]),
    ];
    for (nth, (title, more)) in (0..).zip(cases) {
        let file = |ending| folder.path().join(format!("{nth}.{ending}"));
        for ending in ["svg", "png"] {
            let path = file(ending);
            let path = path.to_str().unwrap();
            run(&[&few[..], more, &["--plot", path]].concat()).expect(0);
        }
        let svg = std::fs::read_to_string(file("svg")).unwrap();
        assert!(svg.contains(title) && svg.contains("random"), "{svg}");
        assert!(std::fs::read(file("png")).unwrap().starts_with(b"\x89PNG"));
    }
}
