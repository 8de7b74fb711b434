//! unbound as a forwarder for everything, with as many threads as the others.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use super::Server;
use crate::support::process::Process;

/// Starts one before this upstream.
pub(super) fn start(program: &Path, dir: &Path, upstream: SocketAddr) -> Result<Server, String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, super::free_port()?));
    let dir = dir.join("unbound");
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let text = format!(
        "server:\n interface: {ip}\n port: {port}\n num-threads: {threads}\n so-reuseport: yes\n so-rcvbuf: {buffer}\n username: \"\"\n \
         chroot: \"\"\n pidfile: \"\"\n directory: \"{dir}\"\n use-syslog: no\n logfile: unbound.log\n do-daemonize: no\n \
         module-config: \"iterator\"\n do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n\
         remote-control:\n control-enable: no\n\
         forward-zone:\n name: \".\"\n forward-addr: {up_ip}@{up_port}\n",
        ip = address.ip(),
        port = address.port(),
        threads = super::threads(),
        buffer = super::BUFFER,
        dir = dir.display(),
        up_ip = upstream.ip(),
        up_port = upstream.port(),
    );
    let file = dir.join("unbound.conf");
    std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
    let process = Process::start(Command::new(program).arg("-d").arg("-c").arg(&file));
    Ok(Server { process, address, metrics: None })
}
