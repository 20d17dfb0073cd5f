//! Integration tests: our programs against the fakes, in one process.

mod chassis;
mod desk;
mod redfish;
