# The command line that every client's test takes, and the server it names.

require "optparse"
require "socket"
require_relative "wire"

class Target
  JOBS_DEFAULT = 10_000

  attr_reader :host, :port, :jobs, :result, :only

  def initialize(arguments)
    @jobs = JOBS_DEFAULT
    rest = options.parse(arguments)
    abort options.to_s unless rest.size == 1

    @host, _, port = rest.first.rpartition(":")
    @port = Integer(port)
    refuse_unless_loopback
  end

  def url
    "redis://#{host}:#{port}/0"
  end

  def wire
    Wire.new(host, port)
  end

  # Empties the server, which is why it has to be one of this machine.
  def empty
    wire.tap { |connection| connection.call("FLUSHALL") }.close
  end

  # Says which server this is and in which version, by its own word.
  def server
    connection = wire
    info = connection.info
    connection.close
    return "Millpond #{info["millpond_version"]}" if info["millpond_version"]

    "Redis #{info.fetch("redis_version")}"
  end

  private

  def options
    @options ||= OptionParser.new do |parser|
      parser.banner = "usage: run HOST:PORT [options]   (the server is emptied: FLUSHALL)"
      parser.on("--jobs N", Integer, "jobs in the bulk part (#{JOBS_DEFAULT})") { |count| @jobs = count }
      parser.on("--result FILE", "append the outcome to FILE as a line of JSON") { |file| @result = File.expand_path(file) }
      parser.on("--only NAMES", Array, "only these parts, by the first word of their titles") { |names| @only = names }
    end
  end

  def refuse_unless_loopback
    addresses = Addrinfo.getaddrinfo(host, port, nil, :STREAM)
    return if addresses.all? { |address| address.ipv4_loopback? || address.ipv6_loopback? }

    abort "#{host} is not on loopback. This test begins with FLUSHALL, so it only talks to a server of this machine."
  end
end
