# Waits for something to become true by asking again and again, up to a deadline. Nothing here sleeps for a time that
# a figure depends on.

module Waiting
  # What a healthy server reaches within seconds; the rest is for a busy machine.
  SECONDS_MAX = 60
  PAUSE_SECONDS = 0.05

  class TookTooLong < StandardError; end

  module_function

  # Returns the block's first value that is neither nil nor false.
  def eventually(what, within: SECONDS_MAX)
    deadline = now + within
    loop do
      value = yield
      return value if value
      raise TookTooLong, "#{what}: still not so after #{within} s" if now > deadline

      sleep PAUSE_SECONDS
    end
  end

  # Returns the block's value as soon as it is the expected one, or its last value when the deadline has passed.
  def until_equal(expected, within: SECONDS_MAX)
    deadline = now + within
    loop do
      value = yield
      return value if value == expected || now > deadline

      sleep PAUSE_SECONDS
    end
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
