//! The producers: what they write, how they disconnect, and the answers they get.

use std::collections::VecDeque;

use crate::clients::End;
use crate::faults::{Fault, Faults};
use crate::ledger::{Ledger, message};
use crate::listener::Verdict;
use crate::names::{KINDS, NOTIFICATION, OBJECTS, SECRET, Subject, USERS, object_id, user_id};
use crate::random::Random;
use crate::wires::Wire;
use airlay::producers::ProducerId;

/// The longest line the server accepts, and the bytes of answers it keeps for a producer that does not read them.
pub(crate) const LINE: usize = 2048;
pub(crate) const ANSWERS: usize = 1000;
/// The bytes of the longest answer.
const LONGEST_ANSWER: usize = 200;

/// One producer and its connection.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) number: usize,
    pub(crate) id: ProducerId,
    /// Everything it has written, how much of it has arrived at the server's socket, and how much the server has read.
    pub(crate) out: Vec<u8>,
    pub(crate) arrived: usize,
    pub(crate) given: usize,
    /// Its lines, each with the number of bytes after which the server has it.
    pub(crate) lines: VecDeque<(usize, Line)>,
    pub(crate) line: u64,
    /// How much of it the server must read before it stops.
    pub(crate) owes: usize,
    pub(crate) end: Option<End>,
    pub(crate) end_has_arrived: bool,
    /// The server has read the end of its stream.
    pub(crate) is_ended: bool,
    pub(crate) answers: Wire,
    pub(crate) is_readable: bool,
    /// The number of turns in which it does not read its answers.
    pub(crate) stalled: usize,
    /// The beginning of an answer.
    held: Vec<u8>,
    /// The answers that are due, and whether each may be lost for the bytes queued before it.
    expected: VecDeque<(Answer, bool)>,
    /// Answers that were skipped.
    pub(crate) lost: u64,
    pub(crate) random: Random,
}

/// The meaning of a line.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Event {
        number: usize,
        ack: Option<u64>,
    },
    Revoke {
        user: usize,
        subject: Option<Subject>,
        ack: Option<u64>,
    },
    /// A bad line, by its number.
    Bad(u64),
}

/// An answer that is due.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The event was queued for this many subscribers, at least and at most.
    Taken {
        ack: u64,
        least: usize,
        most: usize,
    },
    Refused(u64),
}

impl Producer {
    pub(crate) const fn new(number: usize, id: ProducerId, answers: Wire, random: Random) -> Self {
        Self {
            number,
            id,
            out: Vec::new(),
            arrived: 0,
            given: 0,
            lines: VecDeque::new(),
            line: 1,
            owes: 0,
            end: None,
            end_has_arrived: false,
            is_ended: false,
            answers,
            is_readable: false,
            stalled: 0,
            held: Vec::new(),
            expected: VecDeque::new(),
            lost: 0,
            random,
        }
    }

    /// Writes some lines.
    pub(crate) fn act(&mut self, ledger: &mut Ledger, faults: &mut Faults) {
        if self.end.is_some() {
            return;
        }
        for _ in 0..self.random.between(1, 6) {
            match self.random.below(10) {
                // Consecutive events of one topic, which the server batches.
                0..2 => {
                    let subject = self.subject();
                    (0..self.random.between(2, 5)).for_each(|_| self.event(subject, ledger));
                }
                2 => {
                    self.out.extend_from_slice(self.random.pick::<&[u8]>(&[b"\n", b"\r\n"]));
                    self.line += 1;
                }
                _ => {
                    let subject = self.subject();
                    self.event(subject, ledger);
                }
            }
            self.misbehave(ledger, faults);
            if self.end.is_some() {
                return;
            }
        }
    }

    fn misbehave(&mut self, ledger: &mut Ledger, faults: &mut Faults) {
        if faults.strikes(Fault::RevokedUser, &mut self.random) {
            self.revoke(None);
        }
        if faults.strikes(Fault::RevokedEvent, &mut self.random) {
            let subject = self.subject();
            self.revoke(Some(subject));
        }
        if faults.strike(Fault::BadLine, &mut self.random) {
            self.bad_line();
        }
        if faults.strike(Fault::OversizedLine, &mut self.random) {
            let begin = self.out.len();
            self.out.extend(std::iter::repeat_n(b'x', LINE + self.random.between(1, LINE)));
            self.lines.push_back((begin + LINE + 1, Line::Bad(self.line)));
            self.end_line();
        }
        if faults.strike(Fault::LastLineUnended, &mut self.random) {
            let subject = self.subject();
            self.event(subject, ledger);
            // It counts without its line end.
            while self.out.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
            if let Some((end, _)) = self.lines.back_mut() {
                *end = self.out.len();
            }
            self.end = Some(End::EndOfStream);
        } else if faults.strike(Fault::CutJson, &mut self.random) {
            self.out.extend_from_slice(b"{\"type\":\"issueUpdate\",\"id\":");
            self.lines.push_back((self.out.len(), Line::Bad(self.line)));
            self.end = Some(End::EndOfStream);
        } else if faults.strike(Fault::CutLine, &mut self.random) {
            // Even a whole line without its end does not count if the connection is reset.
            let text = format!(r#"{{"type":"issueUpdate","id":"{}","data":"cut"}}"#, object_id(Some(0)));
            let length = self.random.between(1, text.len());
            self.out.extend_from_slice(&text.as_bytes()[..length]);
            self.end = Some(End::Reset);
        }
    }

    /// Writes an event.
    pub(crate) fn event(&mut self, subject: Subject, ledger: &mut Ledger) {
        let (kind, object) = subject;
        let number = ledger.events.len();
        let users = self.users(subject);
        let data = match (self.random.below(12), users.as_deref()) {
            // A secret of one user.
            (0..6, Some(&[user])) => format!(r#"{{"n":{number},"text":"{SECRET}{}"}}"#, user_id(user)),
            (0, _) => format!(r#"{{"n":{number},"text":"{}"}}"#, "x".repeat(self.random.below(1200))),
            (1, _) => format!("{{\"n\":{number},\"a\" : [ 1 ,\t2 ] }}"),
            (2, _) => format!(r#"{{"n":{number},"text":"\u0000 é … 𝄞"}}"#),
            _ => format!(r#"{{"n":{number}}}"#),
        };
        let (ack, ack_text) = self.ack();
        let id = match object {
            Some(object) => format!(r#""id":"{}","#, object_id(Some(object))),
            None => String::new(),
        };
        let listed = match &users {
            _ if kind != NOTIFICATION => String::new(),
            None => r#""users":"*","#.into(),
            Some(users) => {
                let quoted: Vec<String> =
                    users.iter().map(|&user| format!("\"{}\"", user_id(user))).collect();
                format!(r#""users":[{}],"#, quoted.join(","))
            }
        };
        let line = format!(r#"{{{ack_text}"type":"{}",{id}{listed}"data":{data}}}"#, KINDS[kind]);
        ledger.write_event(subject, users, message(subject, &data));
        self.out.extend_from_slice(line.as_bytes());
        self.end_line();
        self.lines.push_back((self.out.len(), Line::Event { number, ack }));
    }

    /// The users of a notification.
    fn users(&mut self, (kind, _): Subject) -> Option<Vec<usize>> {
        if kind != NOTIFICATION || self.random.chance(100) {
            return None;
        }
        let mut users: Vec<usize> =
            (0..self.random.between(1, 4)).map(|_| self.random.below(USERS)).collect();
        users.sort_unstable();
        users.dedup();
        Some(users)
    }

    fn revoke(&mut self, subject: Option<Subject>) {
        let user = self.random.below(USERS);
        let (ack, ack_text) = self.ack();
        let event = subject.map_or_else(String::new, |(kind, object)| {
            format!(r#","event":{{"type":"{}","id":"{}"}}"#, KINDS[kind], object_id(object))
        });
        let line = format!(r#"{{{ack_text}"control":"revoke","user":"{}"{event}}}"#, user_id(user));
        self.out.extend_from_slice(line.as_bytes());
        self.end_line();
        self.lines.push_back((self.out.len(), Line::Revoke { user, subject, ack }));
    }

    fn bad_line(&mut self) {
        let id = object_id(Some(1));
        let bad: [Vec<u8>; 9] = [
            b"{".into(),
            b"nonsense".into(),
            b"[]".into(),
            b"{\"type\":\"issueUpdate\",\"data\":\"\xff\"}".into(),
            b"\0".into(),
            br#"{"type":"issueUpdate"}"#.into(),
            br#"{"type":"notification","data":1}"#.into(),
            format!(r#"{{"type":"nothing","id":"{id}"}}"#).into(),
            format!(r#"{{"type":"issueUpdate","id":"{id}","users":[]}}"#).into(),
        ];
        let line = self.random.pick(&bad).clone();
        self.out.extend_from_slice(&line);
        let number = self.line;
        self.end_line();
        self.lines.push_back((self.out.len(), Line::Bad(number)));
    }

    fn ack(&mut self) -> (Option<u64>, String) {
        if !self.random.chance(200) {
            return (None, String::new());
        }
        let ack = self.line + 1_000_000 * (self.number as u64 + 1);
        (Some(ack), format!("\"ack\":{ack},"))
    }

    fn end_line(&mut self) {
        if self.random.chance(100) {
            self.out.push(b'\r');
        }
        self.out.push(b'\n');
        self.line += 1;
    }

    fn subject(&mut self) -> Subject {
        match self.random.below(16) {
            0 => (0, Some(0)),
            1..4 => (NOTIFICATION, None),
            4..6 => (NOTIFICATION, Some(self.random.below(OBJECTS))),
            _ => match self.random.below(KINDS.len()) {
                NOTIFICATION => (0, Some(self.random.below(OBJECTS))),
                kind => (kind, Some(self.random.below(OBJECTS))),
            },
        }
    }

    /// Expects an answer.
    pub(crate) fn expect(&mut self, answer: Answer) {
        let may_be_lost = self.expected.len() * LONGEST_ANSWER >= ANSWERS;
        self.expected.push_back((answer, may_be_lost));
    }

    /// Reads and checks the answers.
    pub(crate) fn hear(&mut self) -> Verdict {
        self.held.append(&mut self.answers.written);
        let Some(last) = self.held.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.held.drain(..=last).collect();
        let lines = String::from_utf8(lines).map_err(|_| "an answer that is not UTF-8")?;
        lines.lines().try_for_each(|line| self.answered(line))
    }

    fn answered(&mut self, line: &str) -> Verdict {
        while let Some((answer, may_be_lost)) = self.expected.pop_front() {
            match answer {
                Answer::Taken { ack, least, most } => {
                    let before =
                        format!(r#"{{"ack":{ack},"status":200,"message":"Ok","code":0,"subscribers":"#);
                    if let Some(rest) = line.strip_prefix(&before) {
                        let count: usize =
                            rest.strip_suffix('}').and_then(|count| count.parse().ok()).unwrap_or(usize::MAX);
                        let is_right = (least..=most).contains(&count);
                        return if is_right {
                            Ok(())
                        } else {
                            Err(format!("{line}: the subscribers are {least} to {most}"))
                        };
                    }
                }
                Answer::Refused(number) => {
                    if line.starts_with(r#"{"status":400,"#)
                        && line.ends_with(&format!(r#","code":5,"line":{number}}}"#))
                    {
                        return Ok(());
                    }
                }
            }
            if !may_be_lost {
                return Err(format!("{line} in place of {answer:?}"));
            }
            self.lost += 1;
        }
        Err(format!("an answer that is not due: {line}"))
    }

    /// The number of answers that are missing.
    pub(crate) fn missing(&self) -> usize {
        self.expected.len()
    }
}
