//! QEMU's monitor: one command at a time over its socket (QEMU Machine
//! Protocol specification, docs/interop/qmp-spec).

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::wait::until;

const PATIENCE: Duration = Duration::from_secs(10);
/// More lines than QEMU ever sends between a command and its answer.
const MOST_EVENTS: usize = 1000;

/// Connects, runs one command, and returns its answer.
///
/// # Errors
/// In words, when the monitor cannot be reached or refuses.
pub(super) fn execute(socket: &Path, command: &str, arguments: Value) -> Result<Value, String> {
    // QEMU makes the socket a moment after it was started.
    let stream = until(PATIENCE, || UnixStream::connect(socket).ok())
        .ok_or_else(|| format!("nothing listens at {}", socket.display()))?;
    stream
        .set_read_timeout(Some(PATIENCE))
        .map_err(|error| error.to_string())?;
    let mut lines = BufReader::new(stream);
    read(&mut lines)?; // the greeting
    for (name, arguments) in [("qmp_capabilities", json!({})), (command, arguments)] {
        let order = json!({ "execute": name, "arguments": arguments });
        writeln!(lines.get_mut(), "{order}").map_err(|error| format!("sending {name}: {error}"))?;
        let answer = answer(&mut lines)?;
        if let Some(error) = answer.get("error") {
            return Err(format!("{name} was refused: {error}"));
        }
        if name == command {
            return Ok(answer.get("return").cloned().unwrap_or(Value::Null));
        }
    }
    Ok(Value::Null)
}

/// The next line that is not an event.
fn answer(lines: &mut impl BufRead) -> Result<Value, String> {
    for _ in 0..MOST_EVENTS {
        let value = read(lines)?;
        if value.get("return").is_some() || value.get("error").is_some() {
            return Ok(value);
        }
    }
    Err("nothing but events".into())
}

fn read(lines: &mut impl BufRead) -> Result<Value, String> {
    let mut line = String::new();
    match lines.read_line(&mut line) {
        Ok(0) => Err("it hung up".into()),
        Ok(_) => {
            serde_json::from_str(&line).map_err(|error| format!("{line:?} is not JSON: {error}"))
        }
        Err(error) => Err(format!("no answer: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_skipped_until_the_answer() {
        for (sent, expected) in [
            (
                "{\"event\":\"RESET\"}\n{\"return\":{}}\n",
                Ok(json!({"return": {}})),
            ),
            (
                "{\"error\":{\"desc\":\"no\"}}\n",
                Ok(json!({"error": {"desc": "no"}})),
            ),
            ("{\"event\":\"RESET\"}\n", Err("it hung up".to_owned())),
        ] {
            assert_eq!(answer(&mut sent.as_bytes()), expected, "{sent}");
        }
        assert!(answer(&mut "garbage\n".as_bytes()).is_err());
    }
}
