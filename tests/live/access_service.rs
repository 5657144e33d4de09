//! `[access] mode = socket`: the questions to the service, the effect of its answers, and that its faults admit no one.

use std::collections::BTreeSet;
use std::thread;

use crate::support::{
    AccessService, Client, Consultation, DATASET, Deadline, ISSUE, LONG_DEADLINE, OBJECT, OTHER_DATASET,
    OTHER_USER, Producer, Server, Setup, USER, ended, event, good_token, reply, request,
};

/// A server and its connection to a service.
#[track_caller]
fn start(setup: Setup) -> (Server, AccessService, Consultation) {
    let service = AccessService::listen(&setup);
    let server = setup.start();
    let consultation = service.accept();
    (server, service, consultation)
}

/// Sends a request that stays pending until the service answers.
#[track_caller]
fn attach(client: &mut Client, user: &str, kind: &str, id: &str) {
    client.send(&request("attach", &good_token(user), kind, id));
}

#[test]
fn the_service_is_asked_as_in_the_contract_and_its_code_is_the_reply() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    for (action, kind, id, asked_kind, asked_id, code) in [
        ("attach", "datasetUpdate", DATASET, "datasetUpdate", DATASET, 0),
        ("attach", "uploadFile", DATASET, "uploadFile", DATASET, 4),
        ("attach", "downloadFile", OBJECT, "downloadFile", OBJECT, 3),
        ("attach", "issueUpdate", ISSUE, "issueUpdate", ISSUE, 0),
        // For notifications, as for a detach, the question is only whether the user exists.
        ("attach", "notification", "", "notification", "", 0),
        ("attach", "notification", OBJECT, "notification", "", 3),
        ("detach", "datasetUpdate", DATASET, "notification", "", 0),
        ("detach", "issueUpdate", ISSUE, "notification", "", 3),
    ] {
        client.send(&request(action, &good_token(USER), kind, id));
        consultation.expect_and_answer(USER, asked_kind, asked_id, code);
        client.expect(&reply(code));
    }
    let mut producer = Producer::connect(&server);
    for (kind, id, subscribers) in [
        ("datasetUpdate", DATASET, 0),
        ("uploadFile", DATASET, 0),
        ("downloadFile", OBJECT, 0),
        ("issueUpdate", ISSUE, 1),
        ("notification", USER, 1),
    ] {
        assert_eq!(producer.publish(&event(kind, id, "1")), subscribers, "{kind}");
    }
}

#[test]
fn a_bad_token_causes_no_question() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    assert_eq!(client.ask(&request("attach", "a.b.c", "datasetUpdate", DATASET)), reply(2));
    attach(&mut client, USER, "datasetUpdate", OTHER_DATASET);
    consultation.expect_and_answer(USER, "datasetUpdate", OTHER_DATASET, 0);
    client.expect(&reply(0));
}

#[test]
fn replies_keep_the_order_of_the_requests_whatever_the_answers_order() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut clients = [Client::connect(&server), Client::connect(&server)];
    let codes = [0, 4, 3, 0, 4];
    let ids: Vec<String> = (0..codes.len()).map(|number| format!("{number:024x}")).collect();
    for client in &mut clients {
        // In one segment, so that the server reads them at once.
        let requests: Vec<String> =
            ids.iter().map(|id| request("attach", &good_token(USER), "datasetUpdate", id)).collect();
        client.send_all(requests.iter().map(String::as_str));
    }
    let questions: Vec<_> = (0..2 * codes.len()).map(|_| consultation.question()).collect();
    for question in questions.iter().rev() {
        let number = ids.iter().position(|id| Some(id) == question.id.as_ref()).expect("one of these");
        consultation.answer(question.reference, codes[number]);
    }
    for mut client in clients {
        for code in codes {
            client.expect(&reply(code));
        }
        client.expect_nothing();
    }
}

#[test]
fn others_are_served_while_a_request_is_pending() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut subscriber = Client::connect(&server);
    attach(&mut subscriber, OTHER_USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(OTHER_USER, "issueUpdate", ISSUE, 0);
    subscriber.expect(&reply(0));
    let mut waiting = Client::connect(&server);
    attach(&mut waiting, USER, "datasetUpdate", DATASET);
    let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
    let mut producer = Producer::connect(&server);
    for number in 0..1000 {
        producer.line(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    for number in 0..1000 {
        subscriber.expect(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    consultation.answer(reference, 0);
    waiting.expect(&reply(0));
}

#[test]
fn a_missing_answer_is_code_8_and_a_late_one_has_no_effect() {
    let setup = Setup::with_access_service().set("access.timeoutMs", 50).set("access.cacheSeconds", 60);
    let (server, _service, mut consultation) = start(setup);
    let mut client = Client::connect(&server);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    let late = consultation.expect_question(USER, "datasetUpdate", DATASET);
    client.expect(&reply(8));
    consultation.answer(late, 0);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    consultation.expect_question(USER, "datasetUpdate", DATASET);
    client.expect(&reply(8));
    assert_eq!(Producer::connect(&server).publish(&event("datasetUpdate", DATASET, "1")), 0);
}

#[test]
fn an_answer_with_an_invalid_code_is_code_8() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    for code in ["1", "2", "5", "8", "-1", "\"0\"", "null", "[0]", "0.0", "0,\"code\":0"] {
        attach(&mut client, USER, "datasetUpdate", DATASET);
        let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
        consultation.write(format!("{{\"ref\":{reference},\"code\":{code}}}\n"));
        client.expect(&reply(8));
    }
}

#[test]
fn invalid_answers_are_skipped_and_reported() {
    let (server, _service, mut consultation) =
        start(Setup::with_access_service().set("limits.lineBytes", 256));
    let mut client = Client::connect(&server);
    let mut stranger = Client::connect(&server);
    let lines = server.process().stderr().count();
    for garbage in [
        "garbage\n".into(),
        "\n\r\n".into(),
        b"\0\xff\n".to_vec(),
        "{\"ref\":\"REF\",\"code\":0}\n".into(),
        "{\"ref\":REF}{\"code\":0}\n".into(),
        "{\"code\":0}\n".into(),
        // Answers to questions that were not asked.
        "{\"ref\":0,\"code\":0}\n{\"ref\":18446744073709551615,\"code\":0}\n".into(),
        format!("{{\"ref\":REF,\"code\":0,\"why\":\"{}\"}}\n", "long".repeat(100_000)).into_bytes(),
    ] {
        attach(&mut client, USER, "datasetUpdate", DATASET);
        let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
        let text = String::from_utf8_lossy(&garbage).replace("REF", &reference.to_string());
        let garbage = if garbage.contains(&0) { garbage } else { text.clone().into_bytes() };
        // The next question has the next number: this answers it before it is asked.
        consultation.write(format!("{{\"ref\":{},\"code\":0}}\n", reference + 1));
        consultation.write(garbage);
        consultation.answer(reference, 4);
        client.expect(&reply(4));
        // A second answer to the same question.
        consultation.answer(reference, 0);
        attach(&mut stranger, OTHER_USER, "datasetUpdate", DATASET);
        consultation.expect_and_answer(OTHER_USER, "datasetUpdate", DATASET, 3);
        stranger.expect(&reply(3));
    }
    let report =
        server.process().stderr().wait_for("report", lines, |line| line.contains("is not an answer"));
    assert!(report.contains("level=warn") && report.contains("not a JSON object"), "{report}");
}

#[test]
fn a_line_is_not_continued_by_the_next_connection() {
    let (server, service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
    let answer = format!("{{\"ref\":{reference},\"code\":0}}");
    for cut in [1, 9, answer.len()] {
        consultation.write(&answer[..cut]);
        drop(consultation);
        client.expect(&reply(8));
        consultation = service.accept();
        consultation.write(format!("{}\n", &answer[cut..]));
        attach(&mut client, USER, "datasetUpdate", DATASET);
        consultation.expect_question(USER, "datasetUpdate", DATASET);
    }
    drop(consultation);
    client.expect(&reply(8));
    assert_eq!(Producer::connect(&server).publish(&event("datasetUpdate", DATASET, "1")), 0);
}

#[test]
fn the_server_starts_without_the_service_and_connects_to_it_later() {
    let setup = Setup::with_access_service();
    let path = setup.path("access.sock");
    let server = setup.start();
    let mut client = Client::connect(&server);
    assert_eq!(client.ask(&request("attach", &good_token(USER), "issueUpdate", ISSUE)), reply(8));
    server.process().stderr().wait_for("report", 0, |line| {
        line.contains("no connection to the access service") && line.contains(path.to_str().expect("UTF-8"))
    });
    let service = AccessService::listen(server.setup());
    let mut consultation = service.accept();
    attach(&mut client, USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(USER, "issueUpdate", ISSUE, 0);
    client.expect(&reply(0));
}

#[test]
fn subscriptions_outlive_the_service_and_the_server_reconnects() {
    let (server, service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    attach(&mut client, USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(USER, "issueUpdate", ISSUE, 0);
    client.expect(&reply(0));
    let mut producer = Producer::connect(&server);
    for number in 0..5 {
        drop(consultation);
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, &number.to_string())), 1);
        client.expect(&event("issueUpdate", ISSUE, &number.to_string()));
        consultation = service.accept();
        attach(&mut client, USER, "datasetUpdate", DATASET);
        consultation.expect_and_answer(USER, "datasetUpdate", DATASET, 0);
        client.expect(&reply(0));
    }
    client.expect_nothing();
}

#[test]
fn the_number_of_open_questions_is_limited() {
    const MOST: usize = 10;
    let (server, _service, mut consultation) =
        start(Setup::with_access_service().set("access.questions", MOST));
    let users: Vec<String> = (0..2 * MOST).map(|number| format!("{number:024x}")).collect();
    let mut clients: Vec<Client> = users.iter().map(|_| Client::connect(&server)).collect();
    for (client, user) in clients.iter_mut().zip(&users) {
        attach(client, user, "issueUpdate", ISSUE);
    }
    let questions: Vec<_> = (0..MOST).map(|_| consultation.question()).collect();
    let asked: BTreeSet<&str> = questions.iter().map(|question| question.user.as_str()).collect();
    for (client, user) in clients.iter_mut().zip(&users).filter(|(_, user)| !asked.contains(user.as_str())) {
        client.expect(&reply(8));
        assert_eq!(client.ask(&request("attach", &good_token(user), "issueUpdate", ISSUE)), reply(8));
    }
    for question in &questions {
        consultation.answer(question.reference, 0);
    }
    for (client, _) in clients.iter_mut().zip(&users).filter(|(_, user)| asked.contains(user.as_str())) {
        client.expect(&reply(0));
    }
    attach(&mut clients[0], &users[0], "uploadFile", DATASET);
    consultation.expect_and_answer(&users[0], "uploadFile", DATASET, 0);
    clients[0].expect(&reply(0));
}

#[test]
fn a_service_that_never_reads_delays_no_one_else() {
    // More questions than the socket's buffers hold.
    const CLIENTS: usize = 60;
    const REQUESTS: usize = 60;
    let setup = Setup::with_access_service().set("access.timeoutMs", 5000);
    let (server, _service, mut consultation) = start(setup);
    let mut subscriber = Client::connect(&server);
    attach(&mut subscriber, OTHER_USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(OTHER_USER, "issueUpdate", ISSUE, 0);
    subscriber.expect(&reply(0));

    let users: Vec<String> = (0..CLIENTS).map(|number| format!("{number:024x}")).collect();
    let mut clients: Vec<Client> = users.iter().map(|_| Client::connect(&server)).collect();
    for (client, user) in clients.iter_mut().zip(&users) {
        let token = good_token(user);
        let requests: Vec<String> = (0..REQUESTS)
            .map(|number| request("attach", &token, "datasetUpdate", &format!("{number:024x}")))
            .collect();
        client.send_all(requests.iter().map(String::as_str));
    }
    let mut producer = Producer::connect(&server);
    for number in 0..1000 {
        producer.line(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    for number in 0..1000 {
        subscriber.expect(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    for client in &mut clients {
        for _ in 0..REQUESTS {
            client.expect(&reply(8));
        }
    }
    // Then it reads: questions that have timed out, and the new one.
    let service = thread::spawn(move || {
        while let Some(question) = consultation.next_question() {
            consultation.answer(question.reference, 4);
        }
    });
    // A slow service may not catch up before the new question times out.
    let deadline = Deadline::within(LONG_DEADLINE, "an answer of the access service");
    loop {
        let answer = subscriber.ask(&request("attach", &good_token(OTHER_USER), "datasetUpdate", DATASET));
        if answer == reply(4) {
            break;
        }
        assert_eq!(answer, reply(8));
        deadline.check(&answer);
    }
    let mut subscribers = 0;
    for number in 0..REQUESTS {
        subscribers += producer.publish(&event("datasetUpdate", &format!("{number:024x}"), "1"));
    }
    assert_eq!(subscribers, 0, "a request without an answer became a subscription");
    drop(server);
    service.join().expect("the service runs to the end");
}

#[test]
fn a_service_that_keeps_writing_delays_no_one_else() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut subscriber = Client::connect(&server);
    attach(&mut subscriber, USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(USER, "issueUpdate", ISSUE, 0);
    subscriber.expect(&reply(0));
    let mut producer = Producer::connect(&server);
    let writer = thread::spawn(move || {
        for _ in 0..200 {
            consultation.write("{\"ref\":1,\"code\":0}\nnonsense\n".repeat(1000));
        }
        consultation.write("x".repeat(4 << 20) + "\n");
        consultation
    });
    for number in 0..200 {
        assert_eq!(producer.publish(&event("issueUpdate", ISSUE, &number.to_string())), 1);
        subscriber.expect(&event("issueUpdate", ISSUE, &number.to_string()));
    }
    let mut consultation = writer.join().expect("the server reads");
    attach(&mut subscriber, USER, "datasetUpdate", DATASET);
    consultation.expect_and_answer(USER, "datasetUpdate", DATASET, 0);
    subscriber.expect(&reply(0));
}

#[test]
fn an_answer_is_cached_until_a_revocation() {
    let (server, _service, mut consultation) =
        start(Setup::with_access_service().set("access.cacheSeconds", 3600));
    let mut client = Client::connect(&server);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    consultation.expect_and_answer(USER, "datasetUpdate", DATASET, 0);
    client.expect(&reply(0));
    // The same request again, from another connection too, causes no question.
    client.attach(&good_token(USER), "datasetUpdate", DATASET);
    Client::connect(&server).attach(&good_token(USER), "datasetUpdate", DATASET);

    let mut producer = Producer::connect(&server);
    producer.line(&format!(
        r#"{{"control":"revoke","user":"{USER}","event":{{"type":"datasetUpdate","id":"{DATASET}"}}}}"#
    ));
    client.expect(&ended(4, "datasetUpdate", DATASET));
    attach(&mut client, USER, "datasetUpdate", DATASET);
    consultation.expect_and_answer(USER, "datasetUpdate", DATASET, 4);
    client.expect(&reply(4));
    // A refusal is cached, too.
    assert_eq!(client.ask(&request("attach", &good_token(USER), "datasetUpdate", DATASET)), reply(4));
}

#[test]
fn an_answer_older_than_a_revocation_admits_no_one() {
    let (server, _service, mut consultation) =
        start(Setup::with_access_service().set("access.cacheSeconds", 3600));
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    producer.settle();
    consultation.answer(reference, 0);
    client.expect(&reply(3));
    attach(&mut client, USER, "datasetUpdate", DATASET);
    consultation.expect_and_answer(USER, "datasetUpdate", DATASET, 0);
    client.expect(&reply(0));
}

#[test]
fn a_pending_request_is_asked_about_again_after_a_revocation() {
    let (server, _service, mut consultation) =
        start(Setup::with_access_service().set("access.cacheSeconds", 3600));
    let mut client = Client::connect(&server);
    let mut producer = Producer::connect(&server);
    // The token is verified before, so that the questions are asked as soon as the requests are read.
    attach(&mut client, USER, "issueUpdate", ISSUE);
    consultation.expect_and_answer(USER, "issueUpdate", ISSUE, 0);
    client.expect(&reply(0));
    let token = good_token(USER);
    client.send_all([
        request("attach", &token, "datasetUpdate", OTHER_DATASET).as_str(),
        request("attach", &token, "issueUpdate", ISSUE).as_str(),
    ]);
    // The second has a cached answer and waits for the first.
    let first = consultation.expect_question(USER, "datasetUpdate", OTHER_DATASET);
    producer.line(&format!(r#"{{"control":"revoke","user":"{USER}"}}"#));
    client.expect(&ended(3, "issueUpdate", ISSUE));
    consultation.answer(first, 0);
    client.expect(&reply(3));
    consultation.expect_and_answer(USER, "issueUpdate", ISSUE, 3);
    client.expect(&reply(3));
    assert_eq!(producer.publish(&event("issueUpdate", ISSUE, "1")), 0);
}

#[test]
fn a_client_may_disconnect_while_its_request_is_pending() {
    let (server, _service, mut consultation) = start(Setup::with_access_service());
    let mut client = Client::connect(&server);
    attach(&mut client, USER, "datasetUpdate", DATASET);
    let reference = consultation.expect_question(USER, "datasetUpdate", DATASET);
    drop(client);
    consultation.answer(reference, 0);
    let mut client = Client::connect(&server);
    attach(&mut client, OTHER_USER, "datasetUpdate", DATASET);
    consultation.expect_and_answer(OTHER_USER, "datasetUpdate", DATASET, 0);
    client.expect(&reply(0));
    assert_eq!(Producer::connect(&server).publish(&event("datasetUpdate", DATASET, "1")), 1);
}
