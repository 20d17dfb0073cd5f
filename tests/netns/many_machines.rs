//! Thousands of Machines in the API server: what `cargo xtask bench machines`
//! measures, within bounds.

use std::time::Duration;

use moonfarm_tests::many_machines::{Plan, measure};
use moonfarm_tests::needs;

#[test]
fn five_thousand_machines() {
    if !needs::is_long_run() || !needs::has_namespaces() {
        return;
    }
    let (Some(kube), Some(programs)) = (
        needs::folder("MOONFARM_KUBE_BIN"),
        needs::folder("MOONFARM_PROGRAMS"),
    ) else {
        return;
    };
    let plan = Plan {
        programs,
        kube,
        machines: 5_000,
        rest: Duration::from_secs(30),
    };
    let folder = tempfile::tempdir().unwrap();
    let figures = measure(&plan, folder.path(), &|step| println!("{step}"))
        .unwrap_or_else(|error| panic!("{}", error.chain()));
    println!("{figures:?}");
    assert!(figures.requests_per_sec < 2.0, "{figures:?}");
    assert!(figures.rss_mib < 512, "{figures:?}");
    assert!(figures.serves < Duration::from_secs(60), "{figures:?}");
}
