use super::*;

#[test]
fn ignition_that_is_newer_or_older_stays_as_it_is() {
    for text in [
        "{\"ignition\":{\"version\":\"3.5.0\"},\"storage\":{\"files\":[]}}",
        "{\"ignition\":{\"version\":\"2.3.0\"},\"networkd\":{}}",
    ] {
        assert_eq!(ignition(text).unwrap(), text);
    }
}

#[test]
fn what_is_no_ignition_is_refused() {
    for (text, why) in [
        ("", "it is no JSON"),
        ("{}", "ignition.version is missing"),
        (
            "{\"ignition\":{\"version\":\"3.4.0\"},\"storage\":{\"files\":[{\"path\":1}]}}",
            "storage.files.0.path: a text was expected",
        ),
        (
            "{\"ignition\":{\"version\":\"3.4.0\"},\"passwd\":[]}",
            "passwd: an object was expected",
        ),
    ] {
        let error = ignition(text).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

fn butane(text: &str) -> Result<String, ConfigError> {
    let template = MatchboxTemplate {
        name: "x.yaml".into(),
        text: text.into(),
    };
    config(
        ConfigKind::Ignition,
        &template,
        &Value::map(Default::default()),
    )
}

#[test]
fn what_butane_does_beyond_names_is_refused_by_name() {
    let head = "variant: fcos\nversion: 1.5.0\n";
    for (rest, why) in [
        (
            "boot_device: {layout: ppc64le}\n",
            "Butane's boot_device is not done here",
        ),
        (
            "storage: {filesystems: [{device: /dev/sda, path: /x, with_mount_unit: true}]}\n",
            "storage.filesystems.0: Butane's with_mount_unit",
        ),
        (
            "storage: {files: [{path: /a, contents: {local: a}}]}\n",
            "Butane's local",
        ),
    ] {
        let error = butane(&format!("{head}{rest}")).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("butane"), "{error}");
    }
    let error = butane("variant: openshift\nversion: 4.8.0\n").unwrap_err();
    assert!(error.to_string().contains("openshift"), "{error}");
    assert!(butane(head).is_ok());
}

#[test]
fn cloud_config_or_a_script_or_nothing() {
    let given = |text: &str| {
        let template = MatchboxTemplate {
            name: "x".into(),
            text: text.into(),
        };
        config(
            ConfigKind::Cloud,
            &template,
            &Value::map(Default::default()),
        )
    };
    assert!(given("#cloud-config \nhostname: a\n").is_ok());
    assert!(given("#!/bin/sh\n").is_ok());
    assert!(given("hostname: a\n").is_err());
    assert!(given("#cloud-config\na: [\n").is_err());
}
