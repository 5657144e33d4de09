//! The producers: what they write, how they end, and what they are answered.

use crate::clients::End;
use crate::faults::{Fault, Faults};
use crate::ledger::{Ledger, message};
use crate::listener::Verdict;
use crate::names::{KINDS, NOTIFICATION, OBJECTS, SECRET, Subject, USERS, object_id, user_id};
use crate::random::Random;
use airlay::producers::ProducerId;
use std::collections::VecDeque;

/// The longest line the server takes, and the answers it keeps for a producer that does not read them.
pub(crate) const LINE: usize = 2048;
pub(crate) const ANSWERS: usize = 1000;
/// No answer is longer.
const LONGEST_ANSWER: usize = 200;

/// Each line that is not empty is followed by empty ones, so that its number tells who wrote it: modulo this, the numbers of
/// a producer's lines are the same, and those of another are not.
pub(crate) const STRIDE: u64 = 16;

/// One producer and its connection.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) number: usize,
    /// Which of the numbers below [`STRIDE`] its lines have.
    pub(crate) tag: u64,
    pub(crate) id: Option<ProducerId>,
    /// All it has written, and how much of it has come to the server's socket and was read from there.
    pub(crate) out: Vec<u8>,
    pub(crate) arrived: usize,
    pub(crate) given: usize,
    /// What its socket holds at most.
    pub(crate) capacity: usize,
    /// When the bytes up to some place had come, by the wall clock.
    pub(crate) arrivals: VecDeque<(usize, u64)>,
    /// Its lines, of which the service has not been given any.
    pub(crate) lines: VecDeque<Written>,
    pub(crate) line: u64,
    /// How much of it must be read before the server closes connections.
    pub(crate) owes: usize,
    pub(crate) owes_end: bool,
    pub(crate) end: Option<End>,
    pub(crate) end_has_arrived: bool,
    /// How the server has seen its stream end.
    pub(crate) ended: Option<End>,
    /// For how many of its moments it does not read its answers, and how much it has to read.
    pub(crate) stalled: usize,
    pub(crate) unread: usize,
    /// What it was answered that makes no whole line yet.
    held: Vec<u8>,
    /// The answers that are due, and whether so much waits before each that it may be lost.
    expected: VecDeque<(Answer, bool)>,
    pub(crate) is_tight: bool,
    pub(crate) random: Random,
}

/// A line as it was written.
#[derive(Debug)]
pub(crate) struct Written {
    /// Where it begins and ends in the stream, its end included.
    pub(crate) begin: usize,
    pub(crate) end: usize,
    pub(crate) number: u64,
    pub(crate) line: Line,
}

/// What a line says.
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
    /// It cannot be taken.
    Bad(Fault),
    /// It is never whole, and does not count.
    Cut,
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
    Refused(u64, Fault),
}

impl Producer {
    pub(crate) fn new(number: usize, tag: u64, capacity: usize, is_tight: bool, random: Random) -> Self {
        let mut out = Vec::new();
        (0..tag).for_each(|_| out.push(b'\n'));
        Self {
            number,
            tag,
            id: None,
            out,
            arrived: 0,
            given: 0,
            capacity,
            arrivals: VecDeque::new(),
            lines: VecDeque::new(),
            line: tag + 1,
            owes: 0,
            owes_end: false,
            end: None,
            end_has_arrived: false,
            ended: None,
            stalled: 0,
            unread: 0,
            held: Vec::new(),
            expected: VecDeque::new(),
            is_tight,
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
                // Several of one topic in a row, which the server joins.
                0..2 => {
                    let subject = self.subject();
                    (0..self.random.between(2, 5)).for_each(|_| self.event(subject, ledger));
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
        if faults.strikes(Fault::BadLine, &mut self.random) {
            self.bad_line();
        }
        if faults.strikes(Fault::OversizedLine, &mut self.random) {
            let begin = self.out.len();
            self.out.extend(std::iter::repeat_n(b'x', LINE + self.random.between(1, LINE)));
            self.end_line(begin, Line::Bad(Fault::OversizedLine));
        }
        if faults.strikes(Fault::LastLineUnended, &mut self.random) {
            let subject = self.subject();
            self.event(subject, ledger);
            // Without its line feed, and a `\r` in front of it, it is a line all the same.
            self.unend(End::EndOfStream);
        } else if faults.strikes(Fault::CutJson, &mut self.random) {
            let begin = self.out.len();
            self.out.extend_from_slice(b"{\"type\":\"issueUpdate\",\"id\":");
            self.end_line(begin, Line::Bad(Fault::CutJson));
            self.unend(End::EndOfStream);
        } else if faults.strikes(Fault::CutLine, &mut self.random) {
            // What would be a whole line does not count if the connection broke behind it.
            let text = format!(r#"{{"type":"issueUpdate","id":"{}","data":"cut"}}"#, object_id(Some(0)));
            let length = self.random.between(1, text.len());
            let begin = self.out.len();
            self.out.extend_from_slice(&text.as_bytes()[..length]);
            self.end_line(begin, Line::Cut);
            self.unend(End::Reset);
        }
    }

    /// Takes the end off the last line, and ends the stream there.
    fn unend(&mut self, end: End) {
        while self.out.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
        if let Some(last) = self.lines.back_mut() {
            last.end = self.out.len();
        }
        self.end = Some(end);
    }

    /// Writes an event.
    pub(crate) fn event(&mut self, subject: Subject, ledger: &mut Ledger) {
        let (kind, object) = subject;
        let number = ledger.events.len();
        let users = self.users(subject);
        let data = match (self.random.below(12), users.as_deref()) {
            // What only one user may read.
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
        let begin = self.out.len();
        self.out.extend_from_slice(line.as_bytes());
        self.end_line(begin, Line::Event { number, ack });
    }

    /// Whom a notification is for.
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
        let begin = self.out.len();
        self.out.extend_from_slice(line.as_bytes());
        self.end_line(begin, Line::Revoke { user, subject, ack });
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
        let begin = self.out.len();
        self.out.extend_from_slice(&line);
        self.end_line(begin, Line::Bad(Fault::BadLine));
    }

    fn ack(&mut self) -> (Option<u64>, String) {
        if !self.random.chance(200) {
            return (None, String::new());
        }
        let ack = self.line + 1_000_000 * (self.number as u64 + 1);
        (Some(ack), format!("\"ack\":{ack},"))
    }

    /// Ends a line, and writes the empty ones behind it.
    fn end_line(&mut self, begin: usize, line: Line) {
        if self.random.chance(100) {
            self.out.push(b'\r');
        }
        self.out.push(b'\n');
        let end = self.out.len();
        self.lines.push_back(Written { begin, end, number: self.line, line });
        for _ in 1..STRIDE {
            // An empty line that is cut behind its `\r` may be refused when there is no room, under a number between theirs.
            let may_be_cut = !self.is_tight && self.random.chance(250);
            self.out.extend_from_slice(if may_be_cut { b"\r\n" } else { b"\n" });
        }
        self.line += STRIDE;
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

    /// A line as it was written, without its end.
    pub(crate) fn text(&self, written: &Written) -> &[u8] {
        let line = &self.out[written.begin..written.end];
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// An answer will be due.
    pub(crate) fn expect(&mut self, answer: Answer) {
        let may_be_lost = self.is_tight || self.expected.len() * LONGEST_ANSWER >= ANSWERS;
        self.expected.push_back((answer, may_be_lost));
    }

    /// Hears what it was answered.
    pub(crate) fn hear(&mut self, bytes: &[u8], faults: &mut Faults) -> Verdict {
        self.unread += bytes.len();
        self.held.extend_from_slice(bytes);
        let Some(last) = self.held.iter().rposition(|&byte| byte == b'\n') else { return Ok(()) };
        let lines: Vec<u8> = self.held.drain(..=last).collect();
        let lines = String::from_utf8(lines).map_err(|_| "an answer that is no text")?;
        lines.lines().try_for_each(|line| self.answered(line, faults))
    }

    fn answered(&mut self, line: &str, faults: &mut Faults) -> Verdict {
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
                            Err(format!("{line}: they are {least} to {most}"))
                        };
                    }
                }
                Answer::Refused(number, fault) => {
                    if line.starts_with(r#"{"status":400,"#)
                        && line.ends_with(&format!(r#","code":5,"line":{number}}}"#))
                    {
                        faults.happened(fault);
                        return Ok(());
                    }
                }
            }
            if !may_be_lost {
                return Err(format!("answered with {line} in place of {answer:?}"));
            }
            faults.happened(Fault::UnreadAnswers);
        }
        Err(format!("an answer to nothing: {line}"))
    }

    /// An answer that must have come by now.
    pub(crate) fn missing(&self) -> Option<&Answer> {
        self.expected.iter().find(|(_, may_be_lost)| !may_be_lost).map(|(answer, _)| answer)
    }
}
