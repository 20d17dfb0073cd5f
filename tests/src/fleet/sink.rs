//! boot-server as far as chassis-agent reports to it: hears everything and
//! orders nothing.

use std::sync::Arc;

use boot_proto::api::{ChassisInventory, PowerOrders};
use serde_json::json;

use super::account::Account;
use crate::redfish::http::{Answers, Reply, Request};

/// Takes reports.
pub(super) struct Sink {
    pub account: Arc<Account>,
    /// Devices below this number count their own looks at the power.
    pub bmcs: u32,
}

impl Answers for Sink {
    fn answer(&self, request: &Request) -> Option<Reply> {
        let number = request
            .path
            .strip_prefix("/api/v1/chassis/d")
            .and_then(|rest| rest.split('/').next()?.parse().ok());
        let report: Option<ChassisInventory> = serde_json::from_slice(&request.body).ok();
        let (Some(number), Some(report)) = (number, report) else {
            return Some(Reply::json(404, &json!({"error": "no such page"})));
        };
        let macs = report.machines.iter().map(|machine| machine.macs.len());
        if !report.reachable {
            self.account.failed(&report.message);
        } else if report.complete {
            self.account
                .reported(number, report.machines.len(), macs.sum());
        } else if number >= self.bmcs {
            self.account.power_reported(number);
        }
        Some(Reply::json(200, &json!(PowerOrders::default())))
    }
}
