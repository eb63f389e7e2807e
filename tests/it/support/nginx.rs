//! An nginx in front of an application.

use std::net::SocketAddr;
use std::process::Command;

use super::ports::{free_port, on_free_ports};
use super::process::program;
use super::{Process, Scratch};

pub struct Nginx {
    _process: Process,
    pub address: SocketAddr,
}

impl Nginx {
    /// Starts an nginx with this `server { … }`, in which `listen 8080` stands for a free port.
    pub async fn start(scratch: &Scratch, server: &str) -> Self {
        on_free_ports(async || {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let server = server.replace("listen 8080", &format!("listen {address}"));
            let dir = scratch.path().display();
            let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
            let temp = temp.map(|kind| format!("{kind}_temp_path {dir}/nginx-{kind};"));
            let config = format!(
                "daemon off;\npid {dir}/nginx.pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n\
                 http {{\naccess_log off;\n{}\n{server}\n}}\n",
                temp.join("\n")
            );
            let config = scratch.write("nginx.conf", &config);
            let nginx = program("nginx", "NGINX_BIN", &["/usr/sbin/nginx".into()]);
            let mut command = Command::new(nginx);
            command.arg("-p").arg(scratch.path()).arg("-c").arg(config);
            let mut process = Process::start("nginx", &mut command, scratch);
            let up = process
                .answers(async |_| tokio::net::TcpStream::connect(address).await.ok().map(drop))
                .await;
            up.then_some(Self {
                _process: process,
                address,
            })
        })
        .await
    }
}
