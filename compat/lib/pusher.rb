# A process that pushes jobs as it is asked to, for applications whose code and the test's do not go together.

require "json"
require "timeout"

class Pusher
  REPLY_SECONDS_MAX = 30

  def initialize(command, environment, log)
    @pipe = IO.popen([environment, *command, err: log], "r+")
  end

  # Pushes jobs in order and returns their ids.
  def push(jobs)
    Timeout.timeout(REPLY_SECONDS_MAX) do
      @pipe.puts(JSON.generate(jobs))
      JSON.parse(@pipe.gets || raise("the pushing process has ended"))
    end
  end

  # It ends by itself when nobody asks any more.
  def close
    @pipe.close
  end
end
