//! The commands that the demo prints, ready to paste into another terminal.

use std::borrow::Cow;
use std::env;
use std::net::SocketAddr;
use std::path::Path;

use super::{DATA, ISSUE};

/// What all commands share.
pub(super) struct Commands {
    /// This program and its command family, quoted for a shell.
    pub(super) program: String,
    /// The path of the events socket, quoted for a shell.
    pub(super) socket: String,
}

impl Commands {
    pub(super) fn new(events_socket: &Path) -> Self {
        let program = env::current_exe().unwrap_or_else(|_| "airlay-cli".into());
        Self {
            program: format!("{} web_socket", quote(&program.to_string_lossy())),
            socket: quote(&events_socket.to_string_lossy()).into_owned(),
        }
    }

    /// Publishes an event of the demo's issue. The page's script builds the same command.
    pub(super) fn publish(&self) -> String {
        let Self { program, socket } = self;
        format!("{program} publish issueUpdate {ISSUE} --data '{DATA}' --wait --socket {socket}")
    }

    /// Listens to the events of the demo's issue.
    pub(super) fn listen(&self, server: SocketAddr, token: &str) -> String {
        format!("{} listen issueUpdate {ISSUE} --url ws://{server}/ws --auth {token}", self.program)
    }
}

/// `text` as one word of a POSIX shell (§2.2), quoted only if needed.
fn quote(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.into();
    }
    format!("'{}'", text.replace('\'', r"'\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_gives_back_what_was_quoted() {
        for text in ["/usr/bin/airlay-cli", "", "a b", "it's", "$(x)`y`\"z\"", "~", "#a", "*", "é", "a\\b"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), text);
        }
        assert_eq!(quote("/tmp/a-b_c.1/events.sock"), "/tmp/a-b_c.1/events.sock");
    }
}
