//! One suite for both stores: what is declared and what is learned is kept and
//! told in the same way, whether a folder and a state file keep it or an API
//! server does. The programs, the clients and the API server are real.

mod clients;
mod place;
mod suite;

use place::{Kept, Place};

use crate::kubernetes_agent::Lab;

#[test]
fn both_stores_pass_one_suite() {
    let Some(lab) = Lab::new() else { return };
    lab.kubectl("create namespace farm");
    for kept in [Kept::InFiles, Kept::InTheApiServer] {
        let mut place = Place::new(&lab, kept);
        for (name, case) in suite::CASES {
            println!("{kept:?}: {name}");
            case(&mut place);
        }
    }
}
