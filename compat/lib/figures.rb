# Keeps the figures of one run: each is what was counted beside what was done, and one that is off fails the run.

require "json"
require_relative "waiting"

class Figures
  # Two readings that still differ after this do not differ by chance.
  AGREE_SECONDS_MAX = 5

  Part = Struct.new(:title, :failed, :seconds)

  def initialize(client, target)
    @client, @target = client, target
    @server = target.server
    @parts = []
    @figures = 0
    @started = Waiting.now
    $stdout.sync = true
    puts "#{client} against #{@server} at #{target.host}:#{target.port}"
  end

  # Runs one part of the test. What goes wrong in it fails the run, and the next part still runs.
  def part(title)
    return if @target.only && !@target.only.include?(title[/\w+/])

    @part = Part.new(title, 0, 0)
    @parts << @part
    started = Waiting.now
    puts title
    yield
  rescue StandardError => error
    record(false, "#{error.class}: #{error.message.lines.first&.chomp}", error.backtrace.grep(/compat/).first(4).join("\n       "))
  ensure
    @part.seconds = Waiting.now - started if @part && started
  end

  # Compares what was counted with what it has to be.
  def equal(what, actual, expected)
    record(actual == expected, "#{what}: #{brief(actual)}", "must be #{brief(expected)}")
  end

  # Asks again until the figure is right, and fails when it never is.
  def reaches(what, expected, within: Waiting::SECONDS_MAX, &figure)
    equal(what, Waiting.until_equal(expected, within: within, &figure), expected)
  end

  # Compares two figures that are both read from the server, and reads both again when they differ, since something may
  # have expired between one reading and the other.
  def agree(what, within: AGREE_SECONDS_MAX)
    pair = nil
    Waiting.until_equal(true, within: within) { (pair = yield).first == pair.last }
    equal(what, *pair)
  end

  # For a figure that chance or the clock has a part in.
  def between(what, actual, range)
    record(range.cover?(actual), "#{what}: #{brief(actual)}", "must be within #{range}")
  end

  # For what is either so or not.
  def holds(what, condition)
    record(condition ? true : false, what, "is not so")
  end

  # Prints the summary, adds the line to the result file, and returns whether every figure was right.
  def finish(versions:, jobs:)
    seconds = (Waiting.now - @started).round
    failed = @parts.sum(&:failed)
    ok = failed.zero? && !@parts.empty?
    outcome = {client: @client, versions: versions, server: @server, exercised: @parts.map(&:title), figures: @figures,
               failed: failed, ok: ok, jobs: jobs, seconds: seconds}
    File.open(@target.result, "a") { |file| file.puts(JSON.generate(outcome)) } if @target.result
    print_summary(outcome)
    ok
  end

  private

  def record(right, line, otherwise)
    @figures += 1
    @part.failed += 1 unless right
    puts(right ? "  ok   #{line}" : "  OFF  #{line} -- #{otherwise}")
    right
  end

  def print_summary(outcome)
    puts
    @parts.each { |part| puts format("%-4s %5.1f s  %s", part.failed.zero? ? "ok" : "OFF", part.seconds, part.title) }
    puts
    puts "#{outcome[:client]} | #{outcome[:versions]} | #{outcome[:server]} | #{outcome[:figures]} figures, #{outcome[:failed]} off | " \
         "#{outcome[:jobs]} jobs | #{outcome[:seconds]} s | #{outcome[:ok] ? "works" : "FAILS"}"
  end

  # Long values would hide the line; their beginning tells which they are.
  def brief(value)
    text = value.is_a?(String) ? value : value.inspect
    text.length > 160 ? "#{text[0, 160]}…" : text
  end
end
