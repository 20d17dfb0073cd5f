//! Patterns, properties and mistakes.

use serde_json::json;

use super::*;

#[test]
fn patterns() {
    for (pattern, text, fits) in [
        ("HPE", "hpe", true),
        ("HPE", "HPE Cray", false),
        ("HGX_*", "HGX_Baseboard_0", true),
        ("*Manager Ethernet*", "Manager Ethernet Interface", true),
        ("*", "", true),
        ("a*b*c", "a1b2c", true),
        ("a*b*c", "a1c2b", false),
        ("*aa", "aaa", true),
        ("ab*ba", "aba", false),
        (
            "*_PermanentMACAddress",
            "X__Slot1_PermanentMACAddress",
            true,
        ),
    ] {
        assert_eq!(matches_pattern(pattern, text), fits, "{pattern} {text}");
    }
}

#[test]
fn properties_of_resources() {
    let resource = json!({
        "Vendor": "Lenovo", "Oem": {"Hpe": {"x": 1}}, "Empty": "", "Null": null,
        "Summary": {"Count": 0}, "Id": "1"
    });
    for (name, texts, expected) in [
        ("Vendor", vec!["lenovo"], true),
        ("Vendor", vec!["HPE", "Dell"], false),
        ("Vendor", vec![], false),
        ("Oem/Hpe", vec!["*"], true),
        ("Oem/Dell", vec!["*"], false),
        ("Oem/Dell", vec![], true),
        ("Empty", vec![], true),
        ("Null", vec![], true),
        ("Summary/Count", vec!["0"], true),
        ("Vendor/Deeper", vec![], true),
    ] {
        let texts = texts.into_iter().map(str::to_owned).collect();
        let properties = Properties::from([(name.to_owned(), texts)]);
        assert_eq!(fits(&properties, &resource), expected, "{properties:?}");
    }
}

#[test]
fn mistakes_name_the_field() {
    let check = |change: fn(&mut RedfishRules), field: &str| {
        let mut rules = RedfishRules::default();
        assert_eq!(rules.check(), Ok(()));
        change(&mut rules);
        assert_eq!(rules.check().unwrap_err().0, field);
    };
    check(|r| r.power.on.clear(), "redfish.power.on");
    check(|r| r.power.poll = Span(0), "redfish.power.poll");
    check(|r| r.boot.looks = 0, "redfish.boot.looks");
    check(
        |r| r.boot.settings.push("Systems/1".into()),
        "redfish.boot.settings[0]",
    );
    check(
        |r| r.not_hosts.push(Properties::new()),
        "redfish.notHosts[1]",
    );
    check(|r| r.limits.requests = 1, "redfish.limits");
    check(|r| r.http.request = Span(0), "redfish.http.request");
    check(
        |r| {
            r.boot.targets.insert("usb".into(), vec!["Usb".into()]);
        },
        "redfish.boot.targets.usb",
    );
}
