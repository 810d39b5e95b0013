# Speaks RESP2 over one plain socket, with no client library in between: what a library did is checked by something
# else than the library, and a job can arrive from a program that has never heard of it.

require "socket"
require "timeout"

class Wire
  # The server answered with an error.
  class ServerError < StandardError; end

  # Longer than any figure here may take to read; a server that is silent for so long has hung.
  REPLY_SECONDS_MAX = 30

  def initialize(host, port)
    @socket = TCPSocket.new(host, port)
    @socket.setsockopt(Socket::IPPROTO_TCP, Socket::TCP_NODELAY, 1)
  end

  # Sends one command and returns its reply: a string, an integer, nil or an array of these.
  def call(*words)
    pipeline([words]).first
  end

  # Sends all commands in one write, then reads as many replies.
  def pipeline(commands)
    Timeout.timeout(REPLY_SECONDS_MAX) do
      @socket.write(commands.map { |words| encode(words) }.join)
      replies = commands.map { read_reply }
      replies.each { |reply| raise reply if reply.is_a?(ServerError) }
    end
  end

  # Returns the fields of INFO as a hash.
  def info
    call("INFO").lines(chomp: true).filter_map { |line| line.split(":", 2) if line.include?(":") }.to_h
  end

  # Returns a hash key as a Ruby hash.
  def hash(key)
    call("HGETALL", key).each_slice(2).to_h
  end

  def close
    @socket.close
  end

  private

  def encode(words)
    words.map(&:to_s).map(&:b).reduce("*#{words.size}\r\n".b) { |sent, word| sent << "$#{word.bytesize}\r\n" << word << "\r\n" }
  end

  def read_reply
    line = @socket.gets("\r\n", chomp: true) or raise EOFError, "the server closed the connection"
    kind, rest = line[0], line[1..]
    case kind
    when "+" then rest
    when "-" then ServerError.new(rest)
    when ":" then Integer(rest)
    when "$" then read_bulk(Integer(rest))
    when "*" then Integer(rest).negative? ? nil : Array.new(Integer(rest)) { read_reply }
    else raise "not a RESP2 reply: #{line.inspect}"
    end
  end

  def read_bulk(bytes)
    return nil if bytes.negative?

    body = @socket.read(bytes)
    @socket.read(2)
    body.force_encoding(Encoding::UTF_8)
  end
end
