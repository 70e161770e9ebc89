//! The kit itself: what it starts is there, and gone afterwards.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests may fail, too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use testkit::{Bucket, Process, Proxy, Server, Vhost, wait_until};

#[test]
fn a_virtual_host_is_there_as_long_as_the_test() {
    let (first, second) = (Vhost::shared(), Vhost::shared());
    assert_ne!(first.url(), second.url());
    let path = format!("vhosts/{}", first.url().rsplit_once('/').unwrap().1);
    assert_eq!(second.ask("GET", &path).status, 200);
    assert!(first.queues().is_empty());
    assert_eq!(first.close_connections(), 0);
    drop(first);
    assert_eq!(second.ask("GET", &path).status, 404);
}

fn address(server: &Server) -> String {
    if server.folder().join("garage.toml").exists() {
        return Bucket::on(server)
            .endpoint
            .trim_start_matches("http://")
            .to_owned();
    }
    let url = server.variable("PITCHFLEET_TEST_AMQP");
    let (_, rest) = url.split_once('@').unwrap();
    rest.split_once('/').unwrap().0.to_owned()
}

fn comes_back(mut server: Server, end: impl Fn(&Server)) {
    let before = address(&server);
    end(&server);
    assert!(TcpStream::connect(&before).is_err());
    server.start();
    assert_eq!(address(&server), before);
    TcpStream::connect(&before).unwrap();
    drop(server);
    assert!(TcpStream::connect(&before).is_err());
}

#[test]
fn a_server_comes_back_where_it_was() {
    comes_back(Server::garage(), Server::kill);
    comes_back(Server::rabbitmq(), Server::stop);
}

#[test]
fn a_process_ends_with_the_test_and_its_children_too() {
    let script = "trap 'echo asked; exit 3' TERM; sleep 1000 & echo child $!; echo ready >&2; wait";
    let mut process = Process::spawn(Command::new("bash").args(["-c", script]));
    process.wait_for_line("ready");
    let child = process.wait_for_line("child ");
    let child = child.trim_start_matches("child ").parse::<u32>().unwrap();
    assert_eq!(process.children(), [child]);
    process.terminate();
    assert_eq!(process.wait().code(), Some(3));
    process.wait_for_line("asked");
    assert!(!process.is_running());
    drop(process);
    let stat = format!("/proc/{child}/stat");
    wait_until("the end of the child", || {
        std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(" Z "))
    });
}

#[test]
fn a_proxy_passes_keeps_back_and_cuts() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = echo.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for connection in echo.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
    let proxy = Proxy::to(target);
    let mut connection = TcpStream::connect(proxy.address()).unwrap();
    let mut byte = [0];
    let mut ask = |connection: &mut TcpStream| {
        connection.write_all(b"x")?;
        connection.read_exact(&mut byte)
    };
    ask(&mut connection).unwrap();
    proxy.silence();
    connection
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(ask(&mut connection).is_err());
    proxy.restore();
    connection.set_read_timeout(None).unwrap();
    connection.read_exact(&mut [0]).unwrap();
    proxy.cut();
    assert!(ask(&mut connection).is_err());
    proxy.refuse();
    assert!(ask(&mut TcpStream::connect(proxy.address()).unwrap()).is_err());
    proxy.restore();
    ask(&mut TcpStream::connect(proxy.address()).unwrap()).unwrap();
}
