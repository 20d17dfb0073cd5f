//! What the types of a profile's `redfish` section cannot tell.

use super::{Properties, RedfishRules, SYSTEM_PLACEHOLDER};
use crate::quantity::ByteSize;

/// A mistake: the field, and what is wrong with it.
type Mistake = (String, &'static str);

impl RedfishRules {
    /// Looks for what the types cannot tell.
    ///
    /// # Errors
    /// The first mistake: the field, and what is wrong with it.
    pub fn check(&self) -> Result<(), Mistake> {
        for (index, rule) in self.recognise.iter().enumerate() {
            for (part, properties) in [
                ("root", &rule.root),
                ("system", &rule.system),
                ("manager", &rule.manager),
            ] {
                check_properties(&format!("recognise[{index}].{part}"), properties)?;
            }
        }
        for (index, properties) in self.not_hosts.iter().enumerate() {
            check_some(&format!("notHosts[{index}]"), properties)?;
        }
        for (index, properties) in self.macs.not_host.iter().enumerate() {
            check_some(&format!("macs.notHost[{index}]"), properties)?;
        }
        self.check_power()?;
        self.check_boot()?;
        self.check_bounds()
    }

    fn check_power(&self) -> Result<(), Mistake> {
        let power = &self.power;
        for (name, types) in [
            ("on", &power.on),
            ("off", &power.off),
            ("forceOff", &power.force_off),
        ] {
            if types.is_empty() || types.iter().any(|text| text.trim().is_empty()) {
                return Err((
                    format!("redfish.power.{name}"),
                    "needs at least one reset type, such as On or ForceOff, none of them blank",
                ));
            }
        }
        for (name, span) in [
            ("settle", power.settle),
            ("shutdown", power.shutdown),
            ("poll", power.poll),
        ] {
            if span.0 == 0 {
                return Err((format!("redfish.power.{name}"), "must be 1s at least"));
            }
        }
        Ok(())
    }

    fn check_boot(&self) -> Result<(), Mistake> {
        for (target, values) in &self.boot.targets {
            let field = format!("redfish.boot.targets.{target}");
            if !crate::hardware_profile::BOOT_TARGETS.contains(&target.as_str()) {
                return Err((field, "a boot target is one of pxe, http, disk"));
            }
            if values.is_empty() || values.iter().any(|text| text.trim().is_empty()) {
                return Err((
                    field,
                    "needs at least one value, such as Pxe, none of them blank",
                ));
            }
        }
        if self.boot.looks == 0 {
            return Err((
                "redfish.boot.looks".into(),
                "must be 1 at least: an order that is not read back proves nothing",
            ));
        }
        for (index, path) in self.boot.settings.iter().enumerate() {
            if !path.starts_with(SYSTEM_PLACEHOLDER) && !path.starts_with("/redfish/") {
                return Err((
                    format!("redfish.boot.settings[{index}]"),
                    "must begin with {system} or /redfish/",
                ));
            }
        }
        Ok(())
    }

    fn check_bounds(&self) -> Result<(), Mistake> {
        for (name, span) in [
            ("connect", self.http.connect),
            ("request", self.http.request),
        ] {
            if span.0 == 0 {
                return Err((format!("redfish.http.{name}"), "must be 1s at least"));
            }
        }
        if self.http.retries > 10 {
            return Err((
                "redfish.http.retries".into(),
                "must be 10 at most: a device that is away is visited again anyway",
            ));
        }
        let limits = &self.limits;
        let is_too_small = limits.body < ByteSize(64 << 10)
            || limits.requests < 10
            || limits.members == 0
            || limits.systems == 0
            || limits.scan.0 == 0;
        if is_too_small {
            return Err((
                "redfish.limits".into(),
                "body must be 64Ki at least, requests 10, members, systems and scan more than 0",
            ));
        }
        Ok(())
    }
}

fn check_properties(field: &str, properties: &Properties) -> Result<(), Mistake> {
    for (name, texts) in properties {
        let is_path = !name.is_empty() && name.split('/').all(|part| !part.trim().is_empty());
        if !is_path {
            return Err((
                format!("redfish.{field}.{name}"),
                "is no property: write Name, or Outer/Inner",
            ));
        }
        if texts.iter().any(|text| text.trim().is_empty()) {
            return Err((
                format!("redfish.{field}.{name}"),
                "holds a blank text; an empty list means that the property is absent",
            ));
        }
    }
    Ok(())
}

fn check_some(field: &str, properties: &Properties) -> Result<(), Mistake> {
    if properties.is_empty() {
        return Err((
            format!("redfish.{field}"),
            "names no property, so that everything would be left out",
        ));
    }
    check_properties(field, properties)
}
