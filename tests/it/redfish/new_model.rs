//! A model that nobody wrote code for: a file in a folder is all it takes.

use moonfarm_tests::redfish::{Fault, FaultRule, Service, Tree, VirtualBmc};
use serde_json::{Value, json};

/// A BMC with habits of its own: its systems hide among others, reset types
/// and boot targets have names of their own, and it cannot expand.
fn resources() -> Value {
    json!({
        "/redfish/v1": {
            "Name": "Root Service",
            "Oem": { "Acme": { "Board": "Roadrunner 9" } },
            "Systems": { "@odata.id": "/redfish/v1/Systems" },
            "Links": { "Sessions": { "@odata.id": "/redfish/v1/SessionService/Sessions" } },
        },
        "/redfish/v1/Systems": { "Members": [
            { "@odata.id": "/redfish/v1/Systems/Cooling" },
            { "@odata.id": "/redfish/v1/Systems/Host" },
        ]},
        "/redfish/v1/Systems/Cooling": { "Id": "Cooling", "Model": "Pump controller", "PowerState": "On" },
        "/redfish/v1/Systems/Host": {
            "Id": "Host",
            "Model": "Roadrunner 9",
            "PowerState": "On",
            "EthernetInterfaces": { "@odata.id": "/redfish/v1/Systems/Host/EthernetInterfaces" },
            "Actions": { "#ComputerSystem.Reset": {
                "target": "/redfish/v1/Systems/Host/Actions/ComputerSystem.Reset",
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "PushPowerButton"],
            }},
        },
        "/redfish/v1/Systems/Host/EthernetInterfaces": { "Members": [
            { "@odata.id": "/redfish/v1/Systems/Host/EthernetInterfaces/1" },
            { "@odata.id": "/redfish/v1/Systems/Host/EthernetInterfaces/2" },
        ]},
        "/redfish/v1/Systems/Host/EthernetInterfaces/1": { "Id": "1", "MACAddress": "00:1b:21:00:00:01" },
        "/redfish/v1/Systems/Host/EthernetInterfaces/2": { "Id": "2", "Name": "sideband", "MACAddress": "00:1b:21:00:00:02" },
    })
}

const PROFILE: &str = r#"
name: acme-roadrunner
vendor: Acme
model: Roadrunner 9
driver: redfish
redfish:
  recognise:
    - root: {Oem/Acme/Board: ["Roadrunner*"]}
  login: basic
  expand: never
  notHosts:
    - Model: ["Pump controller"]
  macs:
    notHost:
      - Name: [sideband]
quirks:
  - name: forgets-sessions-at-once
    firmware: "0.9"
    story: Every session is gone with its first request, so there is none.
"#;

async fn observe(bmc: &VirtualBmc, profiles: Option<&str>) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut words = vec!["observe", "-o", "json"];
    let profiles = profiles.map(|text| {
        // Below a folder of its maker, as the built-in ones are.
        let place = folder.path().join("acme");
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join("roadrunner.yaml"), text).unwrap();
        folder.path().display().to_string()
    });
    if let Some(folder) = &profiles {
        words.extend(["--profiles", folder]);
    }
    let (out, failure) = super::cli::run(bmc, &words).await;
    assert_eq!(failure, None);
    serde_json::from_str(&out).unwrap()
}

#[tokio::test]
async fn a_new_model_needs_a_profile_and_no_code() {
    let resources = serde_json::from_value(resources()).unwrap();
    let service = Service::new(Tree::from_resources(resources));
    let bmc = VirtualBmc::serve(service, None, "127.0.0.1:0")
        .await
        .unwrap();
    // Without the profile it is any service: two machines, all MACs.
    let plain = observe(&bmc, None).await;
    assert_eq!(plain.as_array().unwrap().len(), 2, "{plain}");
    bmc.add_fault(FaultRule::always(
        "SessionService",
        Fault::Status(404, String::new()),
    ));
    let known = observe(&bmc, Some(PROFILE)).await;
    let machines = known.as_array().unwrap();
    assert_eq!(machines.len(), 1, "{known}");
    assert_eq!(machines[0]["slot"], "Host");
    assert_eq!(machines[0]["macs"], json!(["00:1b:21:00:00:01"]));
    let logins = bmc
        .requests()
        .iter()
        .filter(|r| r.starts_with("POST"))
        .count();
    assert_eq!(
        logins, 1,
        "only the scan without the profile made a session"
    );
}
