//! What the tests and the demo run Moonfarm against.

pub mod charts;
pub mod chassis;
pub mod demo;
pub mod fleet;
pub mod hosted;
pub mod kube;
pub mod lab;
pub mod many_machines;
pub mod needs;
pub mod pods;
pub mod redfish;
pub mod wait;
