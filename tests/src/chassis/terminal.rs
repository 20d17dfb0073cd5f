//! Bytes to and from one client, with the faults that concern bytes.

use russh::server::Msg;
use russh::{ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::time::sleep;

use super::faults::{Fault, Faults};

/// The client has gone, or was cut off.
pub(super) struct Gone;

/// One session channel.
pub(super) struct Terminal {
    pub input: ChannelReadHalf,
    pub output: ChannelWriteHalf<Msg>,
    pub faults: Faults,
    /// Cuts the whole connection.
    pub cut: Box<dyn Fn() + Send + Sync>,
}

impl Terminal {
    /// The next bytes the client typed.
    pub(super) async fn read(&mut self) -> Result<Vec<u8>, Gone> {
        loop {
            match self.input.wait().await {
                Some(ChannelMsg::Data { data }) => return Ok(data.to_vec()),
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Err(Gone),
                Some(_) => {}
            }
        }
    }

    /// Prints bytes as they are.
    pub(super) async fn print(&self, bytes: &[u8]) -> Result<(), Gone> {
        self.output
            .data_bytes(bytes.to_vec())
            .await
            .map_err(|_| Gone)
    }

    /// Prints the answer to a command, as far as the faults let it.
    pub(super) async fn answer(&mut self, text: &[u8]) -> Result<(), Gone> {
        let mut text = text.to_vec();
        if self.faults.has(&Fault::GluedPrompt) {
            text.truncate(text.trim_ascii_end().len());
        }
        if let Some(lines) = self.faults.find(|f| match f {
            Fault::Pager(lines) => Some(*lines),
            _ => None,
        }) {
            return self.show_by_pages(&text, lines).await;
        }
        if let Some(length) = self.faults.find(|f| match f {
            Fault::LongLine(length) => Some(*length),
            _ => None,
        }) {
            text.extend(std::iter::repeat_n(b'x', length));
            text.extend(b"\r\n");
        }
        let pause = self.faults.find(|f| match f {
            Fault::Drip(pause) => Some(*pause),
            _ => None,
        });
        let most = self.faults.find(|f| match f {
            Fault::BreakAfter(bytes) => Some(*bytes),
            _ => None,
        });
        let upto = most.unwrap_or(usize::MAX).min(text.len());
        match pause {
            None => self.print(text.get(..upto).unwrap_or_default()).await?,
            Some(pause) => {
                for byte in text.iter().take(upto) {
                    self.print(&[*byte]).await?;
                    sleep(pause).await;
                }
            }
        }
        if most.is_some() {
            // What was printed has to leave before the connection does.
            sleep(std::time::Duration::from_millis(50)).await;
            (self.cut)();
            return Err(Gone);
        }
        while self.faults.has(&Fault::EndlessOutput) {
            self.print(&[b'y'; 16 * 1024]).await?;
        }
        Ok(())
    }

    /// Shows so many lines, asks for a key, wipes the question out, and so on.
    async fn show_by_pages(&mut self, text: &[u8], lines: usize) -> Result<(), Gone> {
        let rows: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
        let mut pages = rows.chunks(lines.max(1)).peekable();
        while let Some(page) = pages.next() {
            self.print(&page.concat()).await?;
            if pages.peek().is_some() {
                self.print(b"\x1b[7m--More--\x1b[0m").await?;
                while !self.read().await?.contains(&b' ') {}
                self.print(b"\r        \r").await?;
            }
        }
        Ok(())
    }

    /// Ends the channel; the chassis manager sends no exit status.
    pub(super) async fn close(&self) {
        // An error means that the client has closed it already.
        let _ = self.output.eof().await;
        let _ = self.output.close().await;
    }
}
