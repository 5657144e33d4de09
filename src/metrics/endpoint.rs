//! HTTP for the metrics endpoint (RFC 9112), one request per connection: parsing the request, encoding the answer.
//!
//! This module knows neither sockets nor the metrics.

use prometheus::TEXT_FORMAT;

const PLAIN: &str = "text/plain; charset=utf-8";

/// The end of a request head.
const END: &[u8] = b"\r\n\r\n";

/// The most header fields in a request head.
const MAX_HEADERS: usize = 64;

/// The paths that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// `/metrics`
    Metrics,
    /// `/healthz`: whether the event loop turns; any answer shows that.
    Health,
    /// `/readyz`: whether new clients are accepted.
    Ready,
}

/// The parts of a request that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The requested page, or the HTTP status of the refusal.
    pub page: Result<Page, u16>,
    /// Whether the method is HEAD, so that the answer has no body.
    pub head_only: bool,
}

/// Collects the head of a request.
#[derive(Debug)]
pub struct RequestReader {
    /// The bytes received so far.
    held: Vec<u8>,
    /// The longest head, in bytes.
    limit: usize,
}

impl RequestReader {
    /// An empty reader for a head of at most `limit` bytes.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self { held: Vec::new(), limit }
    }

    /// Adds received bytes. Returns the request once its head is complete or too long, after which the reader must not be
    /// used again; `None` before.
    pub fn receive(&mut self, bytes: &[u8]) -> Option<Request> {
        // Search only the new bytes, and parse only a complete head, so that a slow sender costs no more.
        let from = self.held.len().saturating_sub(END.len() - 1);
        self.held.extend_from_slice(bytes);
        let end = memchr::memmem::find(&self.held[from..], END).map(|at| from + at + END.len());
        match end {
            Some(end) if end <= self.limit => Some(parse(&self.held[..end])),
            None if self.held.len() < self.limit => None,
            _ => Some(refused(431)),
        }
    }
}

fn parse(head: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return refused(400),
        Err(httparse::Error::TooManyHeaders) => return refused(431),
        Err(httparse::Error::Version) => return refused(505),
        Err(_) => return refused(400),
    }
    let head_only = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return refused(405),
    };
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let page = match path {
        "/metrics" => Ok(Page::Metrics),
        "/healthz" => Ok(Page::Health),
        "/readyz" => Ok(Page::Ready),
        _ => Err(404),
    };
    Request { page, head_only }
}

const fn refused(status: u16) -> Request {
    Request { page: Err(status), head_only: false }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: the metrics, in the Prometheus text format.
    Metrics(String),
    /// 200: the event loop turns.
    Alive,
    /// 200: new clients are accepted.
    Ready,
    /// 503: the server is stopping and accepts no new clients.
    Stopping,
    /// A refusal with this HTTP status.
    Refused(u16),
}

impl Answer {
    /// The complete response, after which the connection is closed.
    #[must_use]
    pub fn encode(&self, head_only: bool) -> Vec<u8> {
        let (status, line, content_type, body) = match self {
            Self::Metrics(text) => (200, "OK", TEXT_FORMAT, text.as_str()),
            Self::Alive => (200, "OK", PLAIN, "alive\n"),
            Self::Ready => (200, "OK", PLAIN, "ready\n"),
            Self::Stopping => (503, "Service Unavailable", PLAIN, "stopping\n"),
            Self::Refused(status) => {
                let (line, body) = refusal(*status);
                (*status, line, PLAIN, body)
            }
        };
        let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let length = body.len();
        let body = if head_only { "" } else { body };
        format!(
            "HTTP/1.1 {status} {line}\r\nConnection: close\r\n{allow}Content-Type: {content_type}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

/// The reason phrase (RFC 9110 §15) and a readable explanation as the body.
const fn refusal(status: u16) -> (&'static str, &'static str) {
    match status {
        404 => ("Not Found", "the paths are /metrics, /healthz and /readyz\n"),
        405 => ("Method Not Allowed", "the method is neither GET nor HEAD\n"),
        408 => ("Request Timeout", "the request did not arrive in time\n"),
        431 => ("Request Header Fields Too Large", "the request head is too large\n"),
        503 => ("Service Unavailable", "too many connections, try again later\n"),
        505 => ("HTTP Version Not Supported", "the request is not HTTP/1.1\n"),
        _ => ("Bad Request", "this is not an HTTP request\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    /// The request parsed from the whole head; asserts the same for every split, and byte by byte.
    #[track_caller]
    fn read(head: &[u8]) -> Option<Request> {
        let whole = RequestReader::new(LIMIT).receive(head);
        for split in 1..head.len() {
            let mut reader = RequestReader::new(LIMIT);
            let (first, rest) = head.split_at(split);
            let cut = reader.receive(first).or_else(|| reader.receive(rest));
            assert_eq!(cut, whole, "at {split}");
        }
        let mut reader = RequestReader::new(LIMIT);
        assert_eq!(head.iter().find_map(|byte| reader.receive(&[*byte])), whole, "byte by byte");
        whole
    }

    #[test]
    fn a_request_is_parsed_or_refused_with_a_status() {
        let page = |page| Some(Request { page, head_only: false });
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", page(Ok(Page::Metrics))),
            ("GET /metrics?name=a HTTP/1.1\r\n\r\n", page(Ok(Page::Metrics))),
            ("GET /healthz HTTP/1.0\r\n\r\n", page(Ok(Page::Health))),
            ("HEAD /readyz HTTP/1.1\r\n\r\n", Some(Request { page: Ok(Page::Ready), head_only: true })),
            ("HEAD / HTTP/1.1\r\n\r\n", Some(Request { page: Err(404), head_only: true })),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", page(Err(404))),
            ("POST /metrics HTTP/1.1\r\n\r\n", page(Err(405))),
            ("GET /metrics HTTP/2.0\r\n\r\n", page(Err(505))),
            ("GET\r\n\r\n", page(Err(400))),
            ("GET /metrics HTTP/1.1\r\nA: b\r\n", None),
        ] {
            assert_eq!(read(head.as_bytes()), expected, "{head:?}");
        }
        let head = |length| "GET /metrics HTTP/1.1\r\nA: ".to_owned() + &"b".repeat(length - 30) + "\r\n\r\n";
        assert_eq!(read(head(LIMIT).as_bytes()), page(Ok(Page::Metrics)));
        assert_eq!(read(head(LIMIT + 1).as_bytes()), page(Err(431)));
        assert_eq!(read(&[b'a'; LIMIT]), page(Err(431)));
    }

    #[test]
    fn every_answer_is_a_whole_response() {
        let refusals = [400, 404, 405, 408, 431, 503, 505].map(Answer::Refused);
        let others = [Answer::Metrics("a 1\n".to_owned()), Answer::Alive, Answer::Ready, Answer::Stopping];
        for answer in refusals.into_iter().chain(others) {
            for head_only in [false, true] {
                let bytes = answer.encode(head_only);
                let mut headers = [httparse::EMPTY_HEADER; 8];
                let mut response = httparse::Response::new(&mut headers);
                let head = response.parse(&bytes).unwrap().unwrap();
                let header = |name| response.headers.iter().find(|it| it.name == name).map(|it| it.value);
                let length: usize =
                    str::from_utf8(header("Content-Length").unwrap()).unwrap().parse().unwrap();
                assert_eq!(bytes.len() - head, if head_only { 0 } else { length }, "{answer:?}");
                assert_eq!(header("Connection"), Some(&b"close"[..]));
                assert_eq!(header("Allow").is_some(), answer == Answer::Refused(405));
                if let Answer::Refused(status) = answer {
                    assert_eq!(response.code, Some(status));
                }
            }
        }
    }
}
