//! One session of the command line: a single command, or the shell with its
//! prompt, echo and line editing.

use std::sync::Arc;

use super::console;
use super::dialect::{Dialect, Request};
use super::faults::Fault;
use super::server::Shared;
use super::terminal::{Gone, Terminal};

/// The end of the login banner; what is above it is not known.
const BANNER: &str = "\r\nType 'HELP' to display the commands.\r\n\
    Type 'HELP HELP' to display more detailed information about the help system.\r\n\r\n\
    Visit http://www.hpe.com/info/moonshot/docs for current product documentation.\r\n\r\n";

/// Longest command line; more is not taken.
const LONGEST_LINE: usize = 1024;

/// Runs one command of an exec channel.
pub(super) async fn execute(shared: &Arc<Shared>, mut terminal: Terminal, command: &str) {
    if terminal.faults.has(&Fault::EmptyExec) {
        terminal.close().await;
        return;
    }
    // The command is echoed, and its line ends in CR CR LF.
    let echo = format!("{}\r\r\n", command.trim());
    if terminal.print(echo.as_bytes()).await.is_ok() {
        let _ = perform(shared, &mut terminal, command).await;
    }
    terminal.close().await;
    if terminal.faults.has(&Fault::OneCommandPerConnection) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        (terminal.cut)();
    }
}

/// Runs the interactive shell until the client leaves.
pub(super) async fn interact(shared: &Arc<Shared>, mut terminal: Terminal) {
    let _ = converse(shared, &mut terminal).await;
    terminal.close().await;
}

async fn converse(shared: &Arc<Shared>, terminal: &mut Terminal) -> Result<(), Gone> {
    let prompt = format!("{} ", shared.prompt);
    terminal.print(BANNER.as_bytes()).await?;
    terminal.print(prompt.as_bytes()).await?;
    let mut line = Line::default();
    loop {
        let typed = terminal.read().await?;
        for byte in typed {
            match line.take(byte) {
                Typed::Echo(text) => terminal.print(&text).await?,
                Typed::End => return Ok(()),
                Typed::Command(command) => {
                    terminal.print(b"\r\r\n").await?;
                    if perform(shared, terminal, &command).await? == Next::Leave {
                        return Ok(());
                    }
                    terminal.print(prompt.as_bytes()).await?;
                    if terminal.faults.has(&Fault::DoublePrompt) {
                        terminal.print(format!("\r\n{prompt}").as_bytes()).await?;
                    }
                }
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    Stay,
    Leave,
}

/// Carries one command out and prints what it says.
async fn perform(
    shared: &Arc<Shared>,
    terminal: &mut Terminal,
    command: &str,
) -> Result<Next, Gone> {
    shared.note_command(command);
    let wait = terminal.faults.find(|f| match f {
        Fault::Wait(wait) => Some(*wait),
        _ => None,
    });
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    let begins = |prefix: &str| command.trim().starts_with(prefix);
    if terminal
        .faults
        .find(|f| matches!(f, Fault::Hang(p) if begins(p)).then_some(()))
        .is_some()
    {
        // Until the client gives up.
        while terminal.read().await.is_ok() {}
        return Err(Gone);
    }
    let instead = terminal.faults.find(|f| match f {
        Fault::Garble(prefix) if begins(prefix) => Some(garbage()),
        Fault::Answer(prefix, text) if begins(prefix) => Some(text.clone().into_bytes()),
        _ => None,
    });
    if let Some(bytes) = instead {
        terminal.answer(&bytes).await?;
        return Ok(Next::Stay);
    }
    match ask(shared, command).await {
        Request::Nothing => {}
        Request::Exit => return Ok(Next::Leave),
        Request::Print(text) => terminal.answer(text.as_bytes()).await?,
        Request::Console { slot, acquire } => {
            console::connect(shared, terminal, slot, acquire).await?;
        }
    }
    Ok(Next::Stay)
}

/// Asks on a thread of its own: starting a machine takes a moment.
async fn ask(shared: &Arc<Shared>, command: &str) -> Request {
    let (shared, command) = (Arc::clone(shared), command.to_owned());
    let answer = tokio::task::spawn_blocking(move || {
        let dialect = Dialect {
            model: &shared.model,
            shape: shared.shape,
            manager: shared.manager,
            settle: shared.settle,
            faults: &shared.faults,
        };
        dialect.answer(&command)
    });
    answer.await.unwrap_or(Request::Nothing)
}

/// Bytes without meaning, among them some that terminals and parsers trip over.
fn garbage() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..=255).cycle().take(700).collect();
    bytes.extend(b"\x1b[2J\x1b[;;;;\xff\xfe ---- c999n9 c1n 02:00:00:00:00 \r\n\0\r\n");
    bytes
}

/// The line being typed.
#[derive(Default)]
struct Line {
    text: String,
    last: u8,
    escape: Escape,
}

/// Arrow keys and the like come as escape sequences, which are not taken.
#[derive(Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Inside,
}

enum Typed {
    Echo(Vec<u8>),
    Command(String),
    End,
}

impl Line {
    fn take(&mut self, byte: u8) -> Typed {
        let last = std::mem::replace(&mut self.last, byte);
        match (&self.escape, byte) {
            (Escape::Begun, b'[') => {
                self.escape = Escape::Inside;
                return Typed::Echo(Vec::new());
            }
            (Escape::Inside, 0x20..=0x3f) => return Typed::Echo(Vec::new()),
            (Escape::Begun | Escape::Inside, _) => {
                self.escape = Escape::None;
                return Typed::Echo(Vec::new());
            }
            (Escape::None, _) => {}
        }
        match byte {
            b'\n' if last == b'\r' => Typed::Echo(Vec::new()),
            b'\r' | b'\n' => Typed::Command(std::mem::take(&mut self.text)),
            0x08 | 0x7f if self.text.pop().is_some() => Typed::Echo(b"\x08 \x08".to_vec()),
            0x03 => {
                self.text.clear();
                Typed::Command(String::new())
            }
            0x04 if self.text.is_empty() => Typed::End,
            0x1b => {
                self.escape = Escape::Begun;
                Typed::Echo(Vec::new())
            }
            0x20..=0x7e if self.text.len() < LONGEST_LINE => {
                self.text.push(char::from(byte));
                Typed::Echo(vec![byte])
            }
            _ => Typed::Echo(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_edited_as_people_type_them() {
        for (typed, expected) in [
            ("show\r", "show"),
            ("show\r\n", "show"),
            ("shoq\x7fw\n", "show"),
            ("s\x1b[Ahow\r", "show"),
            ("junk\x03", ""),
        ] {
            let mut line = Line::default();
            let commands: Vec<String> = typed
                .bytes()
                .filter_map(|byte| match line.take(byte) {
                    Typed::Command(command) => Some(command),
                    _ => None,
                })
                .collect();
            assert_eq!(commands, [expected], "{typed:?}");
        }
    }
}
