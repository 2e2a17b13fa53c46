package config

// commandSet is a set of commands, one bit each.
type commandSet uint

const (
	inServer commandSet = 1 << iota
	inClient
	inCertsInit
	inCertsIssue
	inStatus
	inStop
	inNetstat
	inRun
	inRoute    // of a tunnel in a file
	inIdentity // a further one of a tunnel or a route in a file

	inTunnel     = inServer | inClient
	inProcess    = inTunnel | inRun // what belongs to a process, whatever tunnels it has
	inCerts      = inCertsInit | inCertsIssue
	inQuery      = inStatus | inStop // what goes to the status port of a process
	everyCommand = inProcess | inCerts | inQuery | inNetstat
)

// command is one command as operators know it.
type command struct {
	set       commandSet // its bit
	name      string     // as typed, with a space before a subcommand
	check     bool       // it only looks at what the command with the same bit would do
	summary   string     // what it does, as one sentence without its dot
	details   string     // what else to know before the flags
	arguments []argument
	examples  []example
}

// argument is a positional argument.
type argument struct {
	name, help string
	optional   bool
	set        func(*draft, string) error
}

// example is a command line worth copying.
type example struct{ why, line string }

// commands are all commands, in the order in which help shows them.
var commands = []command{
	{
		set:     inServer,
		name:    "server",
		summary: "Accept TLS and forward plaintext to a local target",
		details: "Clients need a certificate of a trusted CA, and an access flag that lets them in. In front of a Prometheus exporter (--protocol http with --disable-tls or --metrics-compat) " +
			frontServerIP + " with " + frontServerPort + " stand for --target, " + frontMetricsPort + " for --status, and " + frontDebug + " for --log-level debug.",
		examples: []example{
			{
				"in front of a web server, for two clients",
				"sallyport server --listen :8443 --target localhost:8080 --cert server.pem --key server-key.pem --cacert ca.pem --allow-cn alice --allow-cn bob",
			},
			{
				"in front of Redis on a UNIX socket, with a status port",
				"sallyport server --listen :6380 --target unix:/run/redis.sock --keystore server-combined.pem --cacert ca.pem --allow-ou cache-users --status localhost:6060",
			},
			{
				"in front of a Prometheus exporter, in the clear, with metrics of its own",
				"sallyport server --protocol http --disable-tls --listen localhost:9101 --target localhost:9100 --metrics-compat prometheus-tunnel --status http://localhost:9102",
			},
			{
				"in front of PostgreSQL, whose clients ask for TLS, on systemd's socket",
				"sallyport server --listen systemd:db --target unix:/run/postgresql/.s.PGSQL.5432 --starttls postgres --cert server.pem --key server-key.pem --cacert ca.pem --allow-cn app",
			},
		},
	},
	{
		set:     inClient,
		name:    "client",
		summary: "Accept plaintext locally and forward it over TLS",
		details: "The target's certificate must be of a trusted CA and for the target's host name.",
		examples: []example{
			{
				"reach a TLS service from a program that speaks none",
				"sallyport client --listen localhost:8080 --target web.example.com:8443 --cert client.pem --key client-key.pem --cacert ca.pem",
			},
			{
				"reach it without a certificate of one's own",
				"sallyport client --listen unix:/run/web.sock --target web.example.com:443 --disable-authentication",
			},
			{
				"reach it through a proxy",
				"sallyport client --listen localhost:8080 --target web.example.com:8443 --cert client.pem --key client-key.pem --cacert ca.pem --proxy http://proxy.example.com:3128",
			},
		},
	},
	{
		set:     inRun,
		name:    "run",
		summary: "Run the tunnels of a file, any number of them",
		details: "The keys of the file are the names of the flags of sallyport server and sallyport client: what belongs to the process at its top level, the tunnels in a list called tunnels, what they share under defaults. Relative paths in it start at the working directory. The flags below win over the file.",
		examples: []example{
			{"run what a file says", "sallyport run --config /etc/sallyport/sallyport.yaml"},
			{"and say more in the log for once", "sallyport run --config /etc/sallyport/sallyport.yaml --log-level debug"},
		},
	},
	{
		set:     inRun,
		check:   true,
		name:    "check",
		summary: "Say whether sallyport run would start, and what it would start with",
		details: "Takes the flags and variables of sallyport run. Loads and verifies everything that the file names, for all tunnels, and reports on it; opens no listener. Exits with 0 if all is well and with 2 if not.",
		examples: []example{
			{"before a reload with a new file", "sallyport check --config /etc/sallyport/sallyport.yaml"},
		},
	},
	{
		set:     inServer,
		check:   true,
		name:    "check server",
		summary: "Say whether sallyport server would start, and what it would start with",
		details: "Takes the flags and variables of sallyport server. Loads and verifies everything they name, and reports on it; opens no listener. Exits with 0 if all is well and with 2 if not.",
		examples: []example{
			{
				"before a restart with new files",
				"sallyport check server --listen :8443 --target localhost:8080 --cert server.pem --key server-key.pem --cacert ca.pem --allow-cn alice",
			},
			{
				"what a command line of Ghostunnel's would do here",
				"sallyport check ghostunnel server --listen :8443 --target localhost:8080 --keystore server.p12 --cacert ca.pem --allow-cn alice",
			},
		},
	},
	{
		set:     inClient,
		check:   true,
		name:    "check client",
		summary: "Say whether sallyport client would start, and what it would start with",
		details: "Takes the flags and variables of sallyport client. Loads and verifies everything they name, and reports on it; opens no listener. Exits with 0 if all is well and with 2 if not.",
		examples: []example{
			{
				"before a restart with new files",
				"sallyport check client --listen localhost:8080 --target web.example.com:8443 --cert client.pem --key client-key.pem --cacert ca.pem",
			},
		},
	},
	{
		set:     inStatus,
		name:    "status",
		summary: "Show how a running sallyport is doing, by its status port",
		details: "Exits with 0 if all is well, with 1 if not, and with 3 if the status port cannot be reached, so that it serves as a health check. Without ADDR it is what SALLYPORT_STATUS says, as for the process itself.",
		arguments: []argument{
			{name: "ADDR", help: "status port: [http://|https://]HOST:PORT or unix:PATH; HTTPS unless http:// or unix:", optional: true, set: setStatusQuery},
		},
		examples: []example{
			{"once", "sallyport status localhost:6060 --cacert ca.pem"},
			{"again and again, with who is connected", "sallyport status unix:/run/sallyport.sock --watch --connections"},
			{"as documents, for other programs", "sallyport status http://localhost:6060 --token-file status.token --json"},
		},
	},
	{
		set:     inStop,
		name:    "stop",
		summary: "Have a running sallyport drain and end, by its status port",
		details: "The process has to run with --enable-shutdown. Exits with 0 once the drain has begun, without waiting for its end. Without ADDR the status port is what SALLYPORT_STATUS says, as for the process itself.",
		arguments: []argument{
			{name: "ADDR", help: "status port: [http://|https://]HOST:PORT or unix:PATH; HTTPS unless http:// or unix:", optional: true, set: setStatusQuery},
		},
		examples: []example{
			{"where there is no other way to tell it", "sallyport stop http://localhost:6060 --token-file status.token"},
		},
	},
	{
		set:     inCertsInit,
		name:    "certs init",
		summary: "Make a development CA, a server and a client identity",
		details: "All certificates are for localhost, 127.0.0.1 and ::1, and for what the flags add. Not for production.",
		arguments: []argument{
			{name: "DIR", help: "directory to write to; made if it is not there", set: setDir},
		},
		examples: []example{
			{"make what the other examples use", "sallyport certs init certs"},
		},
	},
	{
		set:     inCertsIssue,
		name:    "certs issue",
		summary: "Make one more identity of a development CA",
		details: "The certificate is for localhost, 127.0.0.1 and ::1, and for what the flags add. Not for production.",
		arguments: []argument{
			{name: "DIR", help: "directory that sallyport certs init made", set: setDir},
			{name: "NAME", help: "common name, and first part of the files' names", set: setIdentityName},
		},
		examples: []example{
			{"an identity for a service with a DNS name", "sallyport certs issue certs web --dns-name web.example.com"},
		},
	},
	{
		set:     inNetstat,
		name:    "netstat",
		summary: "Tell Prometheus of this host's long-lived TCP connections",
		details: "Serves netstat_tcp_longterm_connections_total at /metrics: established connections that have been there for longer than --duration. Linux only; those of the network namespace that it runs in.",
		examples: []example{
			{"on port 9690, for a Prometheus on another machine", "sallyport netstat"},
			{"only those to a database, and only for this machine", "sallyport netstat --listen localhost:9690 --port 5432 --duration 1m"},
		},
	},
}

// findCommand is the command with this full name, or nil.
func findCommand(name string) *command {
	for i := range commands {
		if commands[i].name == name {
			return &commands[i]
		}
	}
	return nil
}
