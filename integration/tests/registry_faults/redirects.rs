//! Where a registry sends us.

use anyhow::{Result, ensure};
use hostrun_integration::registry::faulty::Truth;
use hostrun_integration::registry::{FaultyRegistry, Reply, Request};

use super::{Kept, MANIFEST, fails, fault, is_largest, is_manifest, pull, with_truth};

#[test]
fn cve_2020_15157_a_password_is_not_shown_where_a_redirect_leads() -> Result<()> {
    with_truth(|stage, truth| {
        let own = truth.clone();
        let elsewhere = FaultyRegistry::start(move |request| own.answer(request))?;
        let (own, there) = (truth.clone(), elsewhere.host());
        let server = FaultyRegistry::start(move |request| {
            if !request.has_pass() {
                return Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\"");
            }
            if request.path.contains("/blobs/") {
                let location = format!("http://{there}{}", request.path);
                return Reply::status(307).header("Location", &location);
            }
            own.answer(request)
        })?;
        pull(stage, &["--creds", "user:secret"], &server.name("box:1"))?.ok()?;
        let asked = elsewhere.asked();
        ensure!(!asked.is_empty(), "nobody was sent there");
        ensure!(!asked.iter().any(Request::has_pass), "{asked:?}");
        Ok(())
    })
}

#[test]
fn cve_2020_15157_a_password_is_not_given_to_whom_a_redirect_leads_and_who_asks() -> Result<()> {
    with_truth(|stage, truth| {
        let thief = FaultyRegistry::start(|_| {
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"registry\"")
        })?;
        let (own, there) = (truth.clone(), thief.host());
        let server = FaultyRegistry::start(move |request| {
            if request.path.contains("/blobs/") {
                let location = format!("http://{there}/x");
                return Reply::status(302).header("Location", &location);
            }
            own.answer(request)
        })?;
        let out = pull(stage, &["--creds", "user:secret"], &server.name("box:1"))?;
        fails(stage, &out, "it wants credentials", Kept::Nothing)?;
        ensure!(!thief.asked().iter().any(Request::has_pass), "it got them");
        Ok(())
    })
}

#[test]
fn cve_2020_15157_addresses_in_a_manifest_lead_nowhere() -> Result<()> {
    with_truth(|stage, truth| {
        let thief = FaultyRegistry::start(|_| {
            Reply::status(401).header("WWW-Authenticate", "Basic realm=\"registry\"")
        })?;
        let (own, there) = (truth.clone(), thief.host());
        let server = FaultyRegistry::start(move |request| {
            if is_manifest(request) {
                let text = own.document().unwrap_or_default();
                let urls = format!("\"urls\":[\"http://{there}/layer\"],\"size\":");
                let text = text.replace("\"size\":", &urls);
                return Reply::bytes(MANIFEST, text);
            }
            if is_largest(&own, request) {
                return Reply::status(404);
            }
            own.answer(request)
        })?;
        let out = pull(stage, &["--creds", "user:secret"], &server.name("box:1"))?;
        fails(stage, &out, "404 not found", Kept::Any)?;
        assert_eq!(thief.asked().len(), 0);
        Ok(())
    })
}

#[test]
fn redirects_that_lead_nowhere_are_refused() -> Result<()> {
    let to = |location: &'static str| {
        move |_: &Truth, request: &Request, _: Reply| {
            let location = location.replace("HERE", &request.path);
            Reply::status(302).header("Location", &location)
        }
    };
    fault(to("HERE"), "more than 10 redirects", Kept::Nothing)?;
    fault(
        to("file:///etc/passwd"),
        "is no address to go to",
        Kept::Nothing,
    )?;
    fault(
        to("http://user:password@127.0.0.1/x"),
        "is no address to go to",
        Kept::Nothing,
    )?;
    fault(
        |_: &Truth, _: &Request, _: Reply| Reply::status(302),
        "a redirect to nowhere",
        Kept::Nothing,
    )
}
