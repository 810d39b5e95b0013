# JOB.* over a plain socket, as a person on call sends it: what is said to the server is one line of text, as for redis-cli.

require_relative "waiting"
require_relative "wire"

class JobRules
  # More than any disk has, so that every disk counts as nearly full.
  RESERVE_OF_A_FULL_DISK = "8000000000gb"

  def initialize(wire)
    @wire = wire
  end

  # Returns what a server without these commands answers, nil where they are there.
  def refusal
    say("JOB.RULES LIST") && nil
  rescue Wire::ServerError => error
    raise unless error.message.match?(/unknown command/i)

    error.message[/\A[^,]*/]
  end

  # Sends a line and returns its reply.
  def say(line)
    @wire.call(*line.split)
  end

  # Sends a line whose reply is a map, which RESP2 shows as a flat array.
  def ask(line)
    say(line).each_slice(2).to_h
  end

  # Returns the error that a line is answered with, nil if it is not refused.
  def error_of(line)
    say(line) && nil
  rescue Wire::ServerError => error
    error.message
  end

  # Returns a name that no blackhole had yet on this server: figures of one outlive it.
  def fresh(name)
    [name, *(2..1000).map { |number| "#{name}#{number}" }].find { |free| error_of("JOB.BLACKHOLE INFO #{free}")&.start_with?("NORULE ") }
  end

  def info(name)
    ask("JOB.BLACKHOLE INFO #{name}")
  end

  # Returns some figures of a blackhole, in this order; those by place as a hash.
  def figures_of(name, *fields)
    found = info(name)
    fields.map { |field| found.fetch(field).then { |value| value.is_a?(Array) ? value.each_slice(2).to_h : value } }
  end

  # Returns the keys that quarantined jobs lie under, of one blackhole or of all.
  def quarantines(name = "*")
    keys, cursor = [], "0"
    loop do
      cursor, found = @wire.call("SCAN", cursor, "MATCH", "job:quarantine:#{name}:*", "COUNT", 1000)
      keys |= found
      return keys.sort if cursor == "0"
    end
  end

  # Returns what became of all jobs in all queues, in these fields; they count from the server's beginning.
  def ledger(*fields)
    rows = say("JOB.LEDGER BY queue").map { |row| row.each_slice(2).to_h }.select { |row| row["queue"] }
    fields.map { |field| rows.sum { |row| row.fetch(field) } }
  end

  # Ends every rule: rules are configuration, and live through FLUSHALL.
  def clear
    say("JOB.RULES LIST").map { |rule| rule.each_slice(2).to_h }.each do |rule|
      @wire.call("JOB.RULES", "DEL", rule["kind"], rule["name"]) if rule["by"]
    end
  end

  # Lets every disk count as nearly full while the block runs.
  def with_full_disk
    before = reserve
    @wire.call("CONFIG", "SET", "disk-reserve", RESERVE_OF_A_FULL_DISK)
    yield
  ensure
    @wire.call("CONFIG", "SET", "disk-reserve", before) if before
  end

  def reserve
    @wire.call("CONFIG", "GET", "disk-reserve").last
  end
end
