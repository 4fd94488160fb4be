//! Passwords and tokens: asked for no more than needed, and given to nobody else.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{FaultyRegistry, Reply};

use super::{Kept, fails, pull, with_truth};

#[test]
fn a_server_that_refuses_every_password_is_asked_no_more_than_needed() -> Result<()> {
    with_truth(|stage, _| {
        let server = FaultyRegistry::start(|_| {
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"")
        })?;
        let name = server.name("box:1");
        let out = pull(stage, &[], &name)?;
        fails(stage, &out, "it wants credentials", Kept::Nothing)?;
        let before = server.asked().len();
        let out = pull(stage, &["--creds", "user:secret"], &name)?;
        fails(
            stage,
            &out,
            "it does not take our credentials",
            Kept::Nothing,
        )?;
        let asked = server.asked().len() - before;
        ensure!(asked <= 4, "asked {asked} times");
        Ok(())
    })
}

#[test]
fn a_server_that_hands_out_tokens_it_does_not_take_is_asked_no_more_than_needed() -> Result<()> {
    with_truth(|stage, _| {
        let server = FaultyRegistry::start(|request| {
            if request.path.starts_with("/token") {
                return Reply::bytes("application/json", r#"{"token":"t"}"#);
            }
            let host = request.headers.get("host").cloned().unwrap_or_default();
            let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"s\"");
            Reply::status(401).header("WWW-Authenticate", &challenge)
        })?;
        let out = pull(stage, &["--creds", "user:secret"], &server.name("box:1"))?;
        fails(
            stage,
            &out,
            "it does not take our credentials",
            Kept::Nothing,
        )?;
        ensure!(server.asked().len() <= 6, "{:?}", server.asked());
        Ok(())
    })
}

/// A registry whose challenge names a token server.
fn with_realm(truth: &Truth, realm: String) -> Result<FaultyRegistry> {
    let own = truth.clone();
    FaultyRegistry::start(move |request| {
        let pass = request.headers.get("authorization");
        if pass.is_some_and(|pass| pass == "Bearer good") {
            return own.answer(request);
        }
        let challenge = format!("Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:x:*\"");
        Reply::status(401).header("WWW-Authenticate", &challenge)
    })
}

#[test]
fn a_token_is_had_from_where_the_registry_says_for_what_is_needed() -> Result<()> {
    with_truth(|stage, truth| {
        let tokens = FaultyRegistry::start(|_| {
            Reply::bytes("application/json", r#"{"access_token":"good"}"#)
        })?;
        let realm = format!("http://{}/token?a=b", tokens.host());
        let server = with_realm(truth, realm)?;
        pull(stage, &["--creds", "user:secret"], &server.name("box:1"))?.ok()?;
        let asked = tokens.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        let first = asked.first().context("nothing asked")?;
        let expected = "/token?a=b&service=s&scope=repository%3Abox%3Apull&account=user";
        assert_eq!(first.path, expected);
        assert_eq!(
            first.headers.get("authorization").map(String::as_str),
            Some("Basic dXNlcjpzZWNyZXQ=")
        );
        // the password itself is for the token server alone
        let passes = server.asked();
        let mut passes = passes.iter().filter_map(|r| r.headers.get("authorization"));
        ensure!(
            passes.all(|pass| pass == "Bearer good"),
            "a password leaked"
        );
        Ok(())
    })
}

#[test]
fn a_token_that_gets_tokens_is_used_as_oauth_has_it() -> Result<()> {
    with_truth(|stage, truth| {
        let tokens = FaultyRegistry::start(|_| {
            Reply::bytes("application/json", r#"{"access_token":"good"}"#)
        })?;
        let server = with_realm(truth, format!("http://{}/token", tokens.host()))?;
        let file = stage.dir().join("auth.json");
        let host = server.host();
        let document = format!(r#"{{"auths":{{"{host}":{{"identitytoken":"again&again"}}}}}}"#);
        fs::write(&file, document)?;
        let file = file.to_string_lossy().into_owned();
        pull(stage, &["--authfile", &file], &server.name("box:1"))?.ok()?;
        let asked = tokens.asked();
        let first = asked.first().context("nothing asked")?;
        assert_eq!(
            (first.method.as_str(), first.path.as_str()),
            ("POST", "/token")
        );
        assert_eq!(
            String::from_utf8_lossy(&first.body),
            "grant_type=refresh_token&client_id=hostrun&service=s&scope=repository%3Abox%3Apull\
             &refresh_token=again%26again"
        );
        Ok(())
    })
}

#[test]
fn a_password_does_not_go_in_the_open_to_another_host() -> Result<()> {
    with_truth(|stage, truth| {
        let thief =
            FaultyRegistry::start(|_| Reply::bytes("application/json", r#"{"token":"good"}"#))?;
        let port = thief
            .host()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .to_owned();
        let server = with_realm(truth, format!("http://localhost:{port}/token"))?;
        let name = server.name("box:1");
        let out = pull(stage, &["--creds", "user:secret"], &name)?;
        fails(stage, &out, "without TLS", Kept::Nothing)?;
        assert_eq!(thief.asked().len(), 0);
        Ok(())
    })
}

#[test]
fn a_token_with_a_header_in_it_is_none() -> Result<()> {
    with_truth(|stage, truth| {
        for answer in [
            r#"{"token":"a\r\nX-Evil: 1"}"#,
            r#"{"token":""}"#,
            r#"{"token":5}"#,
            "[",
            "",
        ] {
            let tokens = FaultyRegistry::start(move |_| Reply::bytes("application/json", answer))?;
            let server = with_realm(truth, format!("http://{}/token", tokens.host()))?;
            let out = pull(stage, &[], &server.name("box:1"))?;
            fails(stage, &out, "no token in its answer", Kept::Nothing)?;
        }
        Ok(())
    })
}
