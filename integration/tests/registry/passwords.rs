//! Who may come in: passwords, certificates of callers, and where they are kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Result, ensure};
use hostrun_integration::on_stage_of_hostrun;
use hostrun_integration::registry::Debian;
use hostrun_integration::registry::debian::{CREDENTIALS, Kind};
use serde_json::Value;

use super::{PLAIN, REASON, pull, shown, with_registry, with_variables};

#[test]
fn a_registry_can_want_to_know_who_we_are() -> Result<()> {
    let kind = Kind {
        secure: true,
        mutual: true,
        ..Kind::default()
    };
    on_stage_of_hostrun(REASON, |stage| {
        let registry = Debian::start(stage.dir(), kind)?;
        let folder = stage.folder("certificates")?;
        fs::copy(registry.authority(), folder.join("ca.crt"))?;
        let dir = shown(&folder);
        let name = registry.name("box:1");
        let pull = || pull(stage, &["--retry=0", "--cert-dir", &dir, &name]);
        let out = pull()?;
        ensure!(
            out.stderr().contains("TLS: received fatal alert"),
            "{}",
            out.stderr()
        );
        registry.introduce(&folder)?;
        // it lets us in, and has nothing
        let out = pull()?;
        ensure!(out.stderr().contains("404 not found"), "{}", out.stderr());
        fs::write(folder.join("me.key"), "no key\n")?;
        let out = pull()?;
        ensure!(out.stderr().contains("cannot use"), "{}", out.stderr());
        ensure!(out.stderr().contains("me.key"), "{}", out.stderr());
        Ok(())
    })
}

#[test]
fn a_password_opens_a_registry_wherever_it_is_kept() -> Result<()> {
    let kind = Kind {
        secure: true,
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let (name, host) = (registry.name("box:1"), registry.host());
        let out = pull(stage, &[PLAIN, &name])?;
        ensure!(
            out.stderr().contains("it wants credentials"),
            "{}",
            out.stderr()
        );
        ensure!(
            out.stderr().contains("hint: 'hostrun login"),
            "{}",
            out.stderr()
        );
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &name])?.ok()?;

        let file = shown(&stage.dir().join("auth/auth.json"));
        let login = |password: &str| {
            let words = [
                "login",
                PLAIN,
                "--authfile",
                &file,
                "-u",
                "user",
                "--password-stdin",
                &host,
            ];
            stage.call(words).input(format!("{password}\n")).run()
        };
        let refused = login("wrong")?;
        ensure!(
            refused.stderr().contains("does not take our credentials"),
            "{}",
            refused.stderr()
        );
        ensure!(!Path::new(&file).exists(), "a wrong password was kept");
        assert_eq!(login("secret")?.ok()?, "Login Succeeded!\n");
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        let kept: Value = serde_json::from_slice(&fs::read(&file)?)?;
        let auth = kept.pointer(&format!("/auths/{host}/auth"));
        assert_eq!(auth.and_then(Value::as_str), Some("dXNlcjpzZWNyZXQ="));
        pull(stage, &[PLAIN, "--authfile", &file, &name])?.ok()?;
        let variable = [format!("REGISTRY_AUTH_FILE={file}")];
        let call = stage.call(["pull", "-q", PLAIN, &name]);
        with_variables(call, &variable).run()?.ok()?;

        let logout = ["logout", "--authfile", &file, &host];
        stage.call(logout).run()?.ok()?;
        ensure!(
            stage.call(logout).run()?.code() == 125,
            "nothing was left to forget"
        );
        ensure!(pull(stage, &[PLAIN, "--authfile", &file, &name])?.code() == 125);
        Ok(())
    })
}

#[test]
fn a_helper_of_dockers_is_asked_for_the_password() -> Result<()> {
    let kind = Kind {
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let helpers = stage.folder("helpers")?;
        let helper = helpers.join("docker-credential-test");
        fs::write(
            &helper,
            format!(
                "#!/bin/sh\n[ \"$1 $(cat)\" = 'get {}' ] && echo '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
                registry.host()
            ),
        )?;
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755))?;
        let docker = stage.folder("docker")?;
        let file = docker.join("config.json");
        let path = std::env::var("PATH")?;
        let variables = [
            format!("PATH={}:{path}", helpers.display()),
            format!("DOCKER_CONFIG={}", docker.display()),
            "XDG_RUNTIME_DIR=/nonexistent".to_owned(),
            "XDG_CONFIG_HOME=/nonexistent".to_owned(),
        ];
        let name = registry.name("box:1");
        let host = registry.host();
        for config in [
            r#"{"credsStore":"test"}"#.to_owned(),
            format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#),
        ] {
            fs::write(&file, config)?;
            let call = stage.call(["pull", "-q", PLAIN, &name]);
            with_variables(call, &variables).run()?.ok()?;
        }
        fs::write(&file, r#"{"credsStore":"../../bin/sh"}"#)?;
        let call = stage.call(["pull", "-q", PLAIN, &name]);
        let out = with_variables(call, &variables).run()?;
        ensure!(
            out.stderr().contains("whose name is a path"),
            "{}",
            out.stderr()
        );
        Ok(())
    })
}

#[test]
fn a_push_needs_the_password() -> Result<()> {
    let kind = Kind {
        secure: true,
        locked: true,
        ..Kind::default()
    };
    with_registry(kind, |stage, registry, _| {
        let name = registry.name("box:1");
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &name])?.ok()?;
        let to = registry.name("new:1");
        let push = |words: &[&str]| stage.call([&["push", "-q", PLAIN], words].concat()).run();
        ensure!(
            push(&[&name, &to])?
                .stderr()
                .contains("it wants credentials")
        );
        push(&["--creds", CREDENTIALS, &name, &to])?.ok()?;
        pull(stage, &[PLAIN, "--creds", CREDENTIALS, &to])?
            .ok()
            .map(drop)
    })
}
