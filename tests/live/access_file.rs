//! `[access] mode = file`: who exists, who may see which dataset, and what a changed file revokes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{
    Client, DATASET, Deadline, ISSUE, LONG_DEADLINE, OTHER_DATASET, OTHER_USER, Producer, Server, Setup,
    UNKNOWN_USER, USER, ended, event, good_token, reply, request,
};

/// An access file: one user with one dataset, one with all.
fn usual() -> Value {
    json!({"users": {USER: {"datasets": [DATASET]}, OTHER_USER: {"datasets": "*"}}})
}

#[track_caller]
fn start(access: &Value) -> Server {
    Setup::with_access_file(&access.to_string()).start()
}

#[test]
fn the_file_decides_about_users_and_datasets() {
    let server = start(&usual());
    let mut client = Client::connect(&server);
    for (user, kind, id, code) in [
        (USER, "datasetUpdate", DATASET, 0),
        (USER, "uploadFile", DATASET, 0),
        (USER, "downloadFile", DATASET, 0),
        (USER, "datasetUpdate", OTHER_DATASET, 4),
        (USER, "uploadFile", OTHER_DATASET, 4),
        (USER, "downloadFile", OTHER_DATASET, 4),
        (USER, "issueUpdate", ISSUE, 0),
        (USER, "notification", "", 0),
        (USER, "notification", OTHER_DATASET, 0),
        (OTHER_USER, "datasetUpdate", OTHER_DATASET, 0),
        (UNKNOWN_USER, "datasetUpdate", DATASET, 3),
        (UNKNOWN_USER, "issueUpdate", ISSUE, 3),
        (UNKNOWN_USER, "notification", "", 3),
    ] {
        let answer = client.ask(&request("attach", &good_token(user), kind, id));
        assert_eq!(answer, reply(code), "{user} {kind} {id}");
    }
}

#[test]
fn ids_in_the_file_may_be_in_upper_case() {
    let server = start(&json!({"users": {USER.to_uppercase(): {"datasets": [DATASET.to_uppercase()]}}}));
    Client::connect(&server).attach(&good_token(USER), "datasetUpdate", DATASET);
}

#[test]
fn the_dataset_events_are_configurable() {
    let server = Setup::with_access_file(&usual().to_string())
        .set("access.datasetEvents", "issueUpdate, uploadFile")
        .start();
    let mut client = Client::connect(&server);
    let token = good_token(USER);
    for (kind, code) in [("issueUpdate", 4), ("uploadFile", 4), ("datasetUpdate", 0), ("downloadFile", 0)] {
        assert_eq!(client.ask(&request("attach", &token, kind, OTHER_DATASET)), reply(code), "{kind}");
    }
}

/// Asserts that the client of [`attached_to_all`] loses its subscriptions but one, after the new file has dropped the dataset
/// of one user, and the other user.
#[track_caller]
fn expect_revocations(server: &Server, client: &mut Client) {
    let mut messages = [client.next_text(), client.next_text(), client.next_text()];
    messages.sort();
    let mut expected = [
        ended(4, "datasetUpdate", DATASET),
        ended(3, "uploadFile", OTHER_DATASET),
        ended(3, "notification", ""),
    ];
    expected.sort();
    assert_eq!(messages, expected);
    let mut producer = Producer::connect(server);
    assert_eq!(producer.publish(&event("datasetUpdate", DATASET, "1")), 0);
    assert_eq!(producer.publish(&event("uploadFile", OTHER_DATASET, "2")), 0);
    assert_eq!(producer.publish(&event("notification", OTHER_USER, "3")), 0);
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "4")), 1);
    client.expect(&event("issueUpdate", ISSUE, "4"));
    client.expect_nothing();
}

#[track_caller]
fn attached_to_all(server: &Server) -> Client {
    let mut client = Client::connect(server);
    client.attach(&good_token(USER), "datasetUpdate", DATASET);
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client.attach(&good_token(OTHER_USER), "uploadFile", OTHER_DATASET);
    client.attach(&good_token(OTHER_USER), "notification", "");
    client
}

#[test]
fn a_new_file_renamed_into_place_revokes_at_once() {
    let server = start(&usual());
    let mut client = attached_to_all(&server);
    server.setup().write_file("access.json", json!({"users": {USER: {"datasets": []}}}).to_string());
    expect_revocations(&server, &mut client);
}

#[test]
fn a_file_written_in_place_revokes_at_once() {
    let server = start(&usual());
    let mut client = attached_to_all(&server);
    let smaller = json!({"users": {USER: {"datasets": [OTHER_DATASET]}}}).to_string();
    fs::write(server.setup().path("access.json"), smaller).expect("the file can be written");
    expect_revocations(&server, &mut client);
}

#[test]
fn a_new_file_grants_rights_after_sighup() {
    let server = start(&json!({"users": {USER: {"datasets": []}}}));
    let mut client = attached_none(&server);
    // The end of a subscription shows that the new file is in force.
    server
        .setup()
        .write_file("access.json", json!({"users": {OTHER_USER: {"datasets": [DATASET]}}}).to_string());
    server.process().signal(Signal::HUP);
    client.expect(&ended(3, "issueUpdate", ISSUE));
    client.attach(&good_token(OTHER_USER), "datasetUpdate", DATASET);
}

/// A client of the only user, who may see no dataset.
#[track_caller]
fn attached_none(server: &Server) -> Client {
    let mut client = Client::connect(server);
    assert_eq!(client.ask(&request("attach", &good_token(USER), "datasetUpdate", DATASET)), reply(4));
    assert_eq!(client.ask(&request("attach", &good_token(OTHER_USER), "issueUpdate", ISSUE)), reply(3));
    client.attach(&good_token(USER), "issueUpdate", ISSUE);
    client
}

#[test]
fn s53_a_bad_new_file_is_reported_and_the_old_one_stays_in_force() {
    let server = start(&usual());
    let mut client = attached_to_all(&server);
    for bad in [
        "".to_owned(),
        "{".to_owned(),
        "[]".to_owned(),
        r#"{"users":[]}"#.to_owned(),
        json!({"users": {USER: {"datasets": ["12"]}}}).to_string(),
        json!({"users": {"a.kalinin": {"datasets": "*"}}}).to_string(),
        json!({"users": {USER: {"datasets": "all"}}}).to_string(),
    ] {
        let lines = server.process().stderr().count();
        server.setup().write_file("access.json", &bad);
        server.process().signal(Signal::HUP);
        server.process().stderr().wait_for(&format!("report of {bad:?}"), lines, |line| {
            line.contains("access.json") && (line.contains("level=warn") || line.contains("level=error"))
        });
        client.expect_nothing();
        assert_eq!(Producer::connect(&server).publish(&event("datasetUpdate", DATASET, "1")), 1, "{bad}");
        client.expect(&event("datasetUpdate", DATASET, "1"));
    }
    server.setup().write_file("access.json", json!({"users": {USER: {"datasets": []}}}).to_string());
    server.process().signal(Signal::HUP);
    expect_revocations(&server, &mut client);
}

#[test]
fn a_missing_new_file_is_reported_and_the_old_one_stays_in_force() {
    let server = start(&usual());
    let mut client = attached_to_all(&server);
    let lines = server.process().stderr().count();
    fs::remove_file(server.setup().path("access.json")).expect("the file exists");
    server.process().signal(Signal::HUP);
    server.process().stderr().wait_for("report", lines, |line| line.contains("access.json"));
    client.expect_nothing();
    assert_eq!(Producer::connect(&server).publish(&event("datasetUpdate", DATASET, "1")), 1);
}

#[test]
fn a_file_written_twice_within_a_second_is_read_twice() {
    let second = |path: &Path| fs::metadata(path).expect("the file exists").mtime();
    let text = usual().to_string().replace(DATASET, OTHER_DATASET);
    let deadline = Deadline::within(LONG_DEADLINE, "two writes within a second");
    loop {
        deadline.check("a second between them");
        let server = start(&usual());
        let path = server.setup().path("access.json");
        let mut client = Client::connect(&server);
        client.attach(&good_token(USER), "datasetUpdate", DATASET);
        let before = second(&path);
        // The same file and the same length: only the fraction of the second differs.
        fs::write(&path, &text).expect("the temporary folder can be written");
        if second(&path) == before {
            client.expect(&ended(4, "datasetUpdate", DATASET));
            return;
        }
    }
}

#[test]
fn another_file_of_the_same_length_and_time_is_read() {
    let server = start(&usual());
    let setup = server.setup();
    let texts = [DATASET, OTHER_DATASET].map(|dataset| usual().to_string().replace(DATASET, dataset));
    // The clock of the file system is coarse, so that two files made at once often have the same times.
    let times = |name: &str| {
        let metadata = fs::metadata(setup.path(name)).expect("the file exists");
        [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()]
    };
    let deadline = Deadline::new("two files with the same times");
    while {
        for (name, text) in ["first", "other"].iter().zip(&texts) {
            let _ = fs::remove_file(setup.path(name));
            fs::write(setup.path(name), text).expect("the temporary folder can be written");
        }
        times("first") != times("other")
    } {
        deadline.check("none");
    }
    let take = |name: &str, mark: usize| {
        symlink(setup.path(name), setup.path("link")).expect("a link can be made");
        fs::rename(setup.path("link"), setup.path("access.json")).expect("a link can be renamed");
        let is_read = |line: &str| line.contains("access file read again");
        let _ = server.process().stderr().wait_for("line that says that the file was read", mark, is_read);
        server.process().stderr().count()
    };
    let mut client = Client::connect(&server);
    let attach = request("attach", &good_token(USER), "datasetUpdate", DATASET);
    let mark = take("first", 0);
    assert_eq!(client.ask(&attach), reply(0));
    take("other", mark);
    client.expect(&ended(4, "datasetUpdate", DATASET));
}
