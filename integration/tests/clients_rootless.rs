//! podman of an ordinary user, from Debian's packages: it runs the runtime as root of a user namespace
//! of its own, where nothing of the machine is root's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use anyhow::{Result, ensure};
use hostrun_integration::client::World;
use hostrun_integration::image::Image;
use hostrun_integration::{Outcome, Runtime};

const USER: u32 = 12345;
const IMAGE: &str = "localhost/bb:latest";

/// A name and ranges of ids for the user, in the world's own `/etc`.
const NAMED: &str = "
    echo 'tester:x:12345:12345::/:/bin/sh' >>/etc/passwd &&
    echo 'tester:200000:65536' >/etc/subuid && cp /etc/subuid /etc/subgid
";

const CONF: &str = "[containers]\nnetns = \"none\"\npids_limit = 0\n\
    default_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
    [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n\
    runtime_supports_json = [\"runc\", \"hostrun\"]\n";

/// A user of a world with podman on one runtime.
struct User {
    world: World,
    runtime: String,
    runc: bool,
}

impl User {
    fn new(runtime: &Runtime) -> Result<Self> {
        let world = World::new()?;
        world.call(["sh", "-c", NAMED]).run()?.ok()?;
        for name in ["home", "run"] {
            let dir = world.dir().join(name);
            fs::create_dir(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
            chown(&dir, Some(USER), Some(USER))?;
        }
        fs::write(world.dir().join("containers.conf"), CONF)?;
        // the user may not be able to look into where the runtime was built
        let name = runtime.program().file_name().unwrap_or_default();
        let own = world.dir().join(name);
        fs::copy(runtime.program(), &own)?;
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755))?;
        let user = Self {
            runtime: own.to_string_lossy().into_owned(),
            runc: runtime.is_runc(),
            world,
        };
        let archive = user.world.dir().join("image.tar");
        let path = archive.to_string_lossy().into_owned();
        Image::new(user.world.dir())?.convert(&format!("docker-archive:{path}:{IMAGE}"))?;
        fs::set_permissions(&archive, fs::Permissions::from_mode(0o644))?;
        user.ok(&["load", "-q", "-i", &path])?;
        Ok(user)
    }

    fn call(&self, words: &[&str]) -> Result<Outcome> {
        let dir = self.world.dir().display();
        let before = format!(
            "setpriv --reuid=12345 --regid=12345 --clear-groups env -i PATH=/usr/bin:/bin:/usr/sbin:/sbin \
             HOME={dir}/home XDG_RUNTIME_DIR={dir}/run USER=tester CONTAINERS_CONF={dir}/containers.conf \
             podman --storage-driver vfs --runtime {}",
            self.runtime
        );
        let all = before.split_whitespace().chain(words.iter().copied());
        self.world.call(all).run()
    }

    fn ok(&self, words: &[&str]) -> Result<String> {
        self.call(words)?.ok()
    }
}

/// The life of containers, as a user leads it who is nobody on the machine.
fn live(user: &User) -> Result<()> {
    let run = |flags: &[&str], script: &str| {
        user.ok(&[&["run", "--rm"], flags, &[IMAGE, "sh", "-c", script]].concat())
    };
    let map = run(&[], "id -u; tr -s ' ' </proc/self/uid_map | head -n 1")?;
    assert_eq!(map, "0\n 0 12345 1\n");
    assert_eq!(run(&["--user", "1000:1000"], "id -u")?, "1000\n");
    let readonly = run(&["--read-only"], "touch /x 2>/dev/null || echo sealed")?;
    assert_eq!(readonly, "sealed\n");
    let out = user.call(&["run", "--rm", IMAGE, "sh", "-c", "exit 7"])?;
    assert_eq!(out.code(), 7, "{}", out.stderr());
    user.ok(&["run", "--detach", "--name", "c", IMAGE, "sleep", "100"])?;
    assert_eq!(user.ok(&["exec", "c", "echo", "inside"])?, "inside\n");
    let state = user.ok(&["inspect", "--format", "{{.State.Status}}", "c"])?;
    assert_eq!(state, "running\n");
    user.ok(&["kill", "c"])?;
    user.ok(&["rm", "--force", "c"])?;
    let name = if user.runc { "runc" } else { "hostrun" };
    let state = user.world.dir().join("run").join(name);
    ensure!(
        state.exists(),
        "its state is not below the user's own directory"
    );
    // filters are kept for the next container
    let kept = |entry: &fs::DirEntry| entry.file_name() == "@filters";
    let left = fs::read_dir(&state)?.flatten().filter(|entry| !kept(entry));
    let left = left.count();
    ensure!(
        left == 0,
        "{left} containers are left in {}",
        state.display()
    );
    Ok(())
}

#[test]
fn podman_of_an_ordinary_user_leads_containers_through_their_lives() -> Result<()> {
    let tested = Runtime::under_test()?;
    let oracle = Runtime::oracle()?;
    for runtime in [&oracle, &tested]
        .into_iter()
        .take(if tested.is_runc() { 1 } else { 2 })
    {
        let user = User::new(runtime)?;
        live(&user)?;
        user.world.end()?;
    }
    Ok(())
}
