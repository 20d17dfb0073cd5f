//! The demo itself, with the API server as the store: two boot-servers, one of
//! them killed.

use clap::Parser as _;
use moonfarm_tests::demo::{Options, Stop, run};
use moonfarm_tests::needs;

use crate::support::artefacts;

#[test]
fn the_demo_with_the_api_server_as_its_store() {
    if !needs::is_long_run() {
        return;
    }
    let Some(artefacts) = artefacts() else { return };
    let options = Options::parse_from(["demo", "--kubernetes", "--exit"]);
    let folder = tempfile::tempdir().expect("a folder");
    let stop = Stop::on_signals().expect("signals");
    run(&options, artefacts, folder.path(), &stop)
        .unwrap_or_else(|error| panic!("{}", error.chain()));
}
