# Turns what the sets have appended to their result file, a line of JSON each, into compat/README.md.

require "json"

HEADING = <<~TEXT
  # Real clients

  Each folder holds one set of real clients with real worker processes. What it counts by the library's own API and by
  its web pages has to be what was done; one figure that is off fails the set. Each set passes on a real Redis
  first: that is how it is known to be right.

      cargo build --release
      compat/both --jobs 10000 --readme    # all sets on Redis, then on Millpond, and this page
      compat/sidekiq-7.3/run HOST:PORT     # one set on a server of this machine, which it empties

  The sets install what they need: Debian's packages with apt, and gems from the folder that the variable in `lib/install.sh`
  names, else from the machine's own gem source. `compose.yaml` starts both servers for people who have Docker.

TEXT

# Joins the runs of one client into a row: what it is, then one cell a server, in the order in which they ran.
def row(runs, servers)
  last = runs.last
  outcomes = servers.map { |server| cell(runs.reverse.find { |run| run["server"] == server }) }
  "| #{[last["client"], last["versions"], last["exercised"].join("; "), *outcomes].join(" | ")} |"
end

def cell(run)
  return "not run" unless run

  verdict = run["ok"] ? "works" : "FAILS: #{run["failed"]} off"
  "#{verdict}, #{run["figures"]} figures, #{run["jobs"]} jobs"
end

runs = ARGF.each_line.map { |line| JSON.parse(line) }
servers = runs.map { |run| run["server"] }.uniq
puts HEADING
if runs.empty?
  puts "No run has written its results yet."
else
  columns = ["client", "versions", "exercised", *servers]
  puts "| #{columns.join(" | ")} |", "|#{"---|" * columns.size}"
  runs.group_by { |run| run["client"] }.each_value { |of_client| puts row(of_client, servers) }
end
