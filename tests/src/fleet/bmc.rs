//! One BMC of a fleet: resources that all of its kind share, its own MACs and
//! serial numbers in them, and its own pace.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::LOGIN;
use super::account::Account;
use super::delays::Delays;
use crate::redfish::http::{Answers, Reply, Request};
use crate::redfish::{Fault, Tree};

/// The resources of one kind of BMC, as texts.
#[derive(Debug)]
pub struct Pages {
    by_path: BTreeMap<String, String>,
    expands: bool,
    tree: Tree,
}

impl Pages {
    /// Reads a folder in the layout of the DMTF mock-up creator.
    ///
    /// # Errors
    /// When it holds none.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let tree = Tree::load(folder)?;
        let by_path = tree
            .iter()
            .map(|(path, body)| (path.to_owned(), body.to_string()))
            .collect();
        let expands = tree.get("/redfish/v1").is_some_and(|root| {
            let expand = "/ProtocolFeaturesSupported/ExpandQuery/NoLinks";
            root.body.pointer(expand) == Some(&Value::Bool(true))
        });
        Ok(Self {
            by_path,
            expands,
            tree,
        })
    }

    fn page(&self, path: &str) -> Option<String> {
        let (bare, query) = path.split_once('?').unwrap_or((path, ""));
        let key = bare.trim_end_matches('/').to_ascii_lowercase();
        if !(self.expands && query.contains("expand")) {
            return self.by_path.get(&key).cloned();
        }
        let mut body = self.tree.get(bare)?.body.clone();
        self.tree.expand(&mut body);
        Some(body.to_string())
    }
}

/// One device.
pub(super) struct Bmc {
    pub number: u32,
    pub pages: Arc<Pages>,
    pub delays: Delays,
    pub account: Arc<Account>,
}

impl Bmc {
    fn reply(&self, request: &Request) -> Reply {
        let path = request.path.as_str();
        match request.method.as_str() {
            "GET" => match self.pages.page(path) {
                Some(page) => Reply::text(200, self.personal(&page)),
                None => Reply::json(
                    404,
                    &json!({"error": {"message": "There is nothing here."}}),
                ),
            },
            "POST" if path.contains("/Sessions") => {
                let body = request.json();
                let says = |name: &str, text: &str| body.get(name) == Some(&text.into());
                if !says("UserName", LOGIN.0) || !says("Password", LOGIN.1) {
                    return Reply::empty(401);
                }
                Reply::json(201, &json!({"Id": "1"}))
                    .with("X-Auth-Token", "token")
                    .with("Location", format!("{}/1", path.trim_end_matches('/')))
            }
            "DELETE" => Reply::empty(204),
            _ => Reply::empty(405),
        }
    }

    /// MACs that begin with 94:40:c9:00:00 become the device's own.
    fn personal(&self, page: &str) -> String {
        let [_, _, high, low] = self.number.to_be_bytes();
        page.replace("94:40:c9:00:00", &format!("94:40:c9:{high:02x}:{low:02x}"))
            .replace("94:40:C9:00:00", &format!("94:40:C9:{high:02X}:{low:02X}"))
            .replace("9440C90000", &format!("9440C9{high:02X}{low:02X}"))
            .replace("SERIAL0000", &format!("SERIAL{:04X}", self.number))
    }
}

/// Whether this is the resource that has the power state.
fn is_system(path: &str) -> bool {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    parts.len() == 4 && parts[2].eq_ignore_ascii_case("systems")
}

impl Answers for Bmc {
    fn answer(&self, request: &Request) -> Option<Reply> {
        let is_system = is_system(&request.path);
        let asked = self.account.asked(self.number, is_system);
        let delay = self.delays.of(self.number, asked);
        let mut reply = self.reply(request);
        reply.fault = Some(Fault::Delay(delay));
        let (account, number) = (Arc::clone(&self.account), self.number);
        // It counts as answered when the answer leaves.
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            account.answered(number, delay, is_system);
        });
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_alone_has_the_power_state() {
        for (path, expected) in [
            ("/redfish/v1/Systems/1", true),
            ("/redfish/v1/Systems/System.Embedded.1/", true),
            ("/redfish/v1/Systems", false),
            ("/redfish/v1/Systems/1/EthernetInterfaces", false),
        ] {
            assert_eq!(is_system(path), expected, "{path}");
        }
    }
}
