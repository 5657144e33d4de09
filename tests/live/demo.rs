//! `demo`: one command with everything embedded, whose output works as printed.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::http::exchange;
use crate::support::process::{Process, command};
use crate::support::{Client, Server};

/// The demo's output.
struct Printed {
    address: SocketAddr,
    page: String,
    token: String,
    publish: String,
}

/// Reads the page's address, the token and the `publish` command from the demo's standard output.
#[track_caller]
fn printed(demo: &Process) -> Printed {
    let output = demo.stdout();
    let word_of = |what: &str, is_wanted: fn(&str) -> bool| {
        let line = output.wait_for(what, 0, |line| line.split_whitespace().any(is_wanted));
        line.split_whitespace().find(|word| is_wanted(word)).expect("the line has it").to_owned()
    };
    let url = word_of("page's address", |word| word.starts_with("http://127.0.0.1:"));
    let token = word_of("token", |word| word.starts_with("eyJ") && word.matches('.').count() == 2);
    let publish = output.wait_for("publish command", 0, |line| line.contains("web_socket publish "));
    let (_, publish) = publish.split_once("web_socket ").expect("the line has it");
    let after_scheme = &url["http://".len()..];
    let (host, page) = after_scheme.split_once('/').unwrap_or((after_scheme, ""));
    Printed {
        address: host.parse().expect("an IP address and a port"),
        page: format!("/{page}"),
        token,
        publish: publish.to_owned(),
    }
}

#[test]
fn the_printed_commands_work() {
    let mut demo = Process::spawn(command().args(["demo", "--port", "0"]));
    let printed = printed(&demo);

    let page = exchange(
        printed.address,
        &format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", printed.page, printed.address),
    );
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.head.to_lowercase().contains("content-type: text/html"), "{page:?}");
    assert!(page.body.contains("WebSocket"), "{page:?}");
    assert!(
        !page.body.contains("src=\"http") && !page.body.contains("href=\"http"),
        "the page is self-contained"
    );
    assert!(page.head.contains("Content-Security-Policy: default-src 'none';"), "{page:?}");
    for (path, status) in [("/index.html", 404), ("/favicon.ico", 404), ("/ws", 426)] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", printed.address);
        assert_eq!(exchange(printed.address, &head).status, status, "{path}");
    }

    let mut words = printed.publish.split_whitespace().skip(1);
    let kind = words.next().expect("a type");
    let id = words.next().filter(|word| !word.starts_with('-')).unwrap_or("").trim_matches('\'');
    let mut client = Client::connect_to(printed.address, "/ws");
    client.attach(&printed.token, kind, id);
    let shell = format!("\"$AIRLAY\" web_socket {}", printed.publish);
    let status = Command::new("sh")
        .args(["-c", &shell])
        .env("AIRLAY", env!("CARGO_BIN_EXE_airlay-cli"))
        .status()
        .expect("a shell");
    assert!(status.success(), "{shell}: {status}");
    let event = client.next_text();
    assert!(event.starts_with(&format!(r#"{{"type":"{kind}","id":"{id}","data":"#)), "{event}");

    let socket = printed.publish.split_whitespace().skip_while(|word| *word != "--socket").nth(1);
    let socket = Path::new(socket.expect("the command names the socket").trim_matches('\''));
    assert!(socket.exists());
    demo.signal(Signal::INT);
    demo.finish().expect_code(0);
    assert!(!socket.parent().expect("a folder").exists(), "the demo's folder was left behind");
}

#[test]
fn the_demo_exits_when_its_terminal_closes() {
    let mut demo = Process::spawn(command().args(["demo", "--port", "0"]));
    printed(&demo);
    demo.signal(Signal::HUP);
    demo.finish().expect_code(0);
}

#[test]
fn a_taken_port_is_an_error_that_says_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = taken.local_addr().expect("it has an address").port().to_string();
    let mut demo = Process::spawn(command().args(["demo", "--port", &port]));
    demo.finish().expect_code(1).expect_named(&[&port, "--port"]);
}

#[test]
fn two_demos_run_side_by_side() {
    let mut demos = [(); 2].map(|()| Process::spawn(command().args(["demo", "--port", "0"])));
    let printed = demos.each_ref().map(printed);
    assert_ne!(printed[0].address, printed[1].address);
    assert_ne!(printed[0].publish, printed[1].publish);
    assert_ne!(printed[0].token, printed[1].token);
    for demo in &mut demos {
        demo.signal(Signal::INT);
        demo.finish().expect_code(0);
    }
}

#[test]
fn the_server_has_no_page() {
    let server = Server::start();
    for path in ["/", "/index.html", "/demo", "/ws"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address());
        let answer = exchange(server.address(), &head);
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(!answer.head.contains("text/html") && answer.body.len() < 200, "{path}: {answer:?}");
    }
}
