//! JSON schemas of the values that are text in a manifest.
//!
//! The patterns are RE2, as the API server has it, and say what the types'
//! `FromStr` takes.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::status::Timestamp;
use crate::ids::{Digest, MacAddr};
use crate::quantity::{ByteSize, Span};
use crate::slot::Slot;

/// Six octets with `:` or `-` between them, three pairs with `.` between them, or
/// twelve bare digits.
pub(super) const MAC: &str = "(([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}|([0-9A-Fa-f]{4}[.]){2}[0-9A-Fa-f]{4}|[0-9A-Fa-f]{12})";
/// A node of a Moonshot chassis, or any other name: RE2 cannot look ahead, so the
/// second half spells out what is not `c`, digits, `n`, digits.
pub(super) const SLOT: &str = "([cC](25[0-5]|2[0-4][0-9]|1[0-9]{2}|0*[1-9][0-9]?)[nN](25[0-5]|2[0-4][0-9]|1[0-9]{2}|0*[1-9][0-9]?)|[^cC[:cntrl:]][^[:cntrl:]]*|[cC]([^0-9[:cntrl:]][^[:cntrl:]]*)?|[cC][0-9]+([^0-9nN[:cntrl:]][^[:cntrl:]]*)?|[cC][0-9]+[nN]([^0-9[:cntrl:]][^[:cntrl:]]*)?|[cC][0-9]+[nN][0-9]+[^0-9[:cntrl:]][^[:cntrl:]]*)";
const DIGEST: &str = "^(sha256:)?[0-9A-Fa-f]{64}$";
/// At most as many digits as 64 bits hold; what is still too large, the program
/// refuses.
const SIZE: &str = "^[0-9]{1,19}(Ti|Gi|Mi|Ki|T|G|M|k)?$";
const SPAN: &str = "^[0-9]{1,10}(d|h|m|s)$";

macro_rules! text_schema {
    ($type:ty, $name:literal, $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_schema!(
    MacAddr,
    "MacAddr",
    json_schema!({"type": "string", "maxLength": 17, "pattern": format!("^{MAC}$")})
);
text_schema!(
    Slot,
    "Slot",
    json_schema!({"type": "string", "maxLength": 256, "pattern": format!("^{SLOT}$")})
);
text_schema!(
    Digest,
    "Digest",
    json_schema!({"type": "string", "maxLength": 71, "pattern": DIGEST})
);
text_schema!(
    Span,
    "Span",
    json_schema!({"type": "string", "maxLength": 11, "pattern": SPAN})
);
text_schema!(
    ByteSize,
    "ByteSize",
    json_schema!({"x-kubernetes-int-or-string": true, "maxLength": 21, "minimum": 0, "pattern": SIZE})
);
text_schema!(
    Timestamp,
    "Timestamp",
    json_schema!({"type": "string", "format": "date-time"})
);

/// A mapping whose values are of any shape.
pub(crate) fn any_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
